"""edgedl optimize from the command line: what one run leaves, that it goes on, is repeated, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Run
from edgedl.measure import BenchmarkRecord

NET = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from edgedl import Score, Task

data = load_digits()
images, labels = (data.images[:, None] / 16).astype(np.float32), data.target

def model():
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))

def fit(module, seed, progress):
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for step in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(torch.from_numpy(images[:1200])), torch.from_numpy(labels[:1200])).backward()
        optimizer.step()
        progress(step + 1, 40)
    return module

def evaluate(predict):
    hits = predict({"image": images[1200:]})["class"].argmax(1) == labels[1200:]
    return Score("accuracy", float(hits.mean()), higher_is_better=True)

task = Task("net", model, lambda: {"image": images[:1]}, outputs=("class",), fit=fit, evaluate=evaluate,
            calibration=lambda: [{"image": row[None]} for row in images[:64]])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, quick_command: Run) -> Path:
    """Where one run went through, to the end."""
    made = tmp_path_factory.mktemp("optimize")
    (made / "net.py").write_text(NET)
    words = ("net.py:task", "-o", "out", "--seconds", "0.2", "--to", "onnx", "--allow-slower")
    done = quick_command("optimize", *words, cwd=made)
    assert done.returncode == 0, done.stderr
    (made / "said.txt").write_text(done.stdout)
    return made


def test_one_run_leaves_proven_files_a_measurement_and_a_report(folder: Path) -> None:
    out = folder / "out"
    record = BenchmarkRecord.open(out / "record.json")
    assert {subject.source for subject in record.finished} >= {"net.onnx", "net.w8a8.onnx"}
    assert all(subject.profile and subject.profile.operators for subject in record.finished)
    assert all(subject.agrees for subject in record.finished)
    said = (folder / "said.txt").read_text()
    assert "Ship net." in said
    assert (out / "net.safetensors").is_file()
    assert all(word in (out / "report.html").read_text() for word in ("Operators", "Ship net."))


def test_what_is_recommended_is_held_against_the_original_layer_by_layer(folder: Path) -> None:
    shipped = (folder / "said.txt").read_text().split("Ship ")[1].split(" in ")[0]
    kept = [path.name for path in (folder / "out").glob("*.layers.json")]
    assert kept == ([] if shipped in ("net.onnx",) else [f"{shipped}.layers.json"])
    for name in kept:
        assert json.loads((folder / "out" / name).read_text())["layers"]
        assert "Layers" in (folder / "out" / "report.html").read_text()


def test_the_same_run_goes_on_and_makes_nothing_twice(folder: Path, quick_command: Run) -> None:
    before = {
        path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("net.*") if "layers" not in path.name
    }
    done = quick_command(
        "optimize",
        "net.py:task",
        "-o",
        "out",
        "--seconds",
        "0.2",
        "--to",
        "onnx",
        "--allow-slower",
        "--json",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"].startswith("Ship ")
    assert {
        path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("net.*") if path.name in before
    } == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("net.py:task", "-o", "out", "--scheme", "w8"), "out holds a run of another recipe"),
        (("-o", "new"), "expected either TASK or --recipe FILE"),
        (("--recipe", "none.toml", "-o", "new"), "cannot read the recipe none.toml"),
        (("net.py:task", "-o", "new", "--scheme", "w9"), "w9"),
        (("net.py:task", "-o", "new", "--to", "onxx"), "onxx"),
        (("net.py:tusk", "-o", "new"), "task"),
    ],
)
def test_refusals_are_one_sentence_and_write_nothing(
    folder: Path, quick_command: Run, words: tuple[str, ...], sentence: str
) -> None:
    done = quick_command("optimize", *words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "new").exists() or not list((folder / "new").iterdir())


def test_what_the_users_code_raises_is_told_with_its_line_and_the_weights_are_kept(
    folder: Path, quick_command: Run
) -> None:
    (folder / "odd.py").write_text(NET.replace('["class"].argmax(1)', '["klass"].argmax(1)'))
    done = quick_command("optimize", "odd.py:task", "-o", "odd", cwd=folder)
    assert done.returncode == 2
    line = NET.split('["class"].argmax')[0].count("\n") + 1
    assert f"the task's evaluate raised KeyError: 'klass' ({folder}/odd.py:{line})" in done.stderr
    assert (folder / "odd" / "net.safetensors").is_file()

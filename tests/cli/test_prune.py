"""edgedl prune from the command line: what it writes, that it is replayed, and how it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import edgedl
from conftest import Run

pytest.importorskip("torch_pruning")

NET = """
import pathlib, time
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from edgedl import Score, Task

data = load_digits()
images, labels = (data.images.reshape(-1, 64) / 16).astype(np.float32), data.target
training, held_out = slice(0, 1200), slice(1200, None)

def model():
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))

def fit(module, seed, progress):
    if pathlib.Path("stall").exists():
        pathlib.Path("begun").touch()
        time.sleep(60)
    x, y = torch.from_numpy(images[training]), torch.from_numpy(labels[training])
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for step in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
        progress(step + 1, 60)
    return module

def evaluate(predict):
    hits = predict({"image": images[held_out]})["output"].argmax(1) == labels[held_out]
    return Score("accuracy", float(hits.mean()), samples=tuple(map(float, hits)))

task = Task("net", model, lambda: {"image": images[:1]}, {"image": {0: "batch"}}, calibration=lambda: [{"image": images[:64]}],
            evaluate=evaluate, fit=fit)
"""
QUICK = "--align 8 --seconds 0.05 --max-drop 5%"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prune")
    (folder / "net.py").write_text(NET)
    edgedl.train(f"{folder}/net.py:task", folder)
    return folder


@pytest.fixture(scope="module")
def pruned(quick_command: Run, home: Path) -> Path:
    done = quick_command(
        *f"prune net.py:task --weights net.safetensors --params 0.4 {QUICK} --allow-slower -o pruned".split(), cwd=home
    )
    assert done.returncode == 0, done.stderr
    assert "pruned/net.onnx: " in done.stdout.splitlines()[0]
    assert "error at 25 %" in done.stdout
    return home / "pruned"


def test_what_is_written(pruned: Path) -> None:
    there = {path.name for path in pruned.iterdir()}
    assert there == {
        "plan.json", "weights.safetensors", "net.onnx", "net.onnx.manifest.json", "net.onnx.golden.safetensors", "pruning.html",
    }  # fmt: skip
    artifact = edgedl.Artifact.open(pruned / "net.onnx")
    assert artifact.manifest is not None
    assert artifact.manifest.evidence["passed"]
    assert artifact.manifest.size < 0.45 * 4 * (64 * 96 + 96 * 96 + 96 * 10)
    page = (pruned / "pruning.html").read_text()
    assert "Sensitivity of each layer" in page
    assert "src=" not in page


def test_the_folder_is_replayed_by_the_other_verbs(quick_command: Run, pruned: Path) -> None:
    done = quick_command("export", "net.py:task", "--weights", "pruned", "-o", "again", cwd=pruned.parent)
    assert done.returncode == 0, done.stderr
    inputs, _ = edgedl.Artifact.open(pruned / "net.onnx").golden()
    with edgedl.load(pruned / "net.onnx") as first, edgedl.load(pruned.parent / "again" / "net.onnx") as second:
        np.testing.assert_array_equal(first.run(inputs)["output"], second.run(inputs)["output"])
    assert quick_command("verify", "pruned/net.onnx", cwd=pruned.parent).returncode == 0
    moved = quick_command("quantize", "pruned/net.onnx", "--scheme", "w8", "-o", "again", cwd=pruned.parent)
    assert moved.returncode == 0, moved.stderr


def test_the_plan_of_another_model_is_refused(quick_command: Run, pruned: Path) -> None:
    (pruned.parent / "other.py").write_text("from torch import nn\ndef net(): return nn.Linear(64, 10)\n")
    words = ["export", "other.py:net", "--input", "x=1x64", "--weights", "pruned", "-o", "other"]
    done = quick_command(*words, cwd=pruned.parent)
    assert done.returncode == 2
    assert "the plan was made for another model" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_written_over(quick_command: Run, pruned: Path) -> None:
    before = (pruned / "plan.json").read_bytes()
    done = quick_command(
        *["prune", "net.py:task", "--weights", "net.safetensors", "--macs", "0.9", "-o", "pruned"], cwd=pruned.parent
    )
    assert done.returncode == 2
    assert "pruned/plan.json exists already" in done.stderr
    assert (pruned / "plan.json").read_bytes() == before


def test_json_of_zeros_in_a_pattern(quick_command: Run, home: Path) -> None:
    words = f"prune net.py:task --weights net.safetensors --method 2:4 {QUICK} --allow-slower -o pattern --json"
    done = quick_command(*words.split(), cwd=home)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["after"]["zeros"] == pytest.approx(0.5, abs=0.01)
    assert found["after"]["parameters"] == found["before"]["parameters"]
    assert found["after"]["packed"] < 0.8 * found["before"]["packed"]
    assert found["artifact"]["manifest"]["evidence"]["passed"]
    assert "of the weights are zero" in found["notes"][0]
    again = quick_command(*["export", "net.py:task", "--weights", "pattern", "-o", "pattern2"], cwd=home)
    assert again.returncode == 0, again.stderr


def test_a_budget_that_cannot_be_met_ends_with_the_best_found(quick_command: Run, home: Path) -> None:
    words = "prune net.py:task --weights net.safetensors --params 0.2 --align 1 --seconds 0.05 --allow-slower --rounds 0 -o tight"
    done = quick_command(*words.split(), cwd=home)
    assert done.returncode == 1, done.stdout
    assert "accuracy falls from" in done.stderr
    assert "The best found has" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {p.name for p in (home / "tight").iterdir()} == {"plan.failed.json", "weights.failed.safetensors"}


def test_a_target_out_of_reach(quick_command: Run, home: Path) -> None:
    words = f"prune net.py:task --weights net.safetensors --params 0.001 {QUICK} -o never"
    done = quick_command(*words.split(), cwd=home)
    assert done.returncode == 1
    assert "params cannot be brought down to 0.001 of the original" in done.stderr
    assert not (home / "never").exists()


@pytest.mark.slow
def test_interrupted_work_goes_on(home: Path) -> None:
    program = Path(sys.executable).with_name("edgedl")
    words = "prune net.py:task --weights net.safetensors --params 0.3 --align 8 --seconds 0.05 --allow-slower --max-drop 3% -o resumed"
    (home / "stall").touch()
    child = subprocess.Popen(
        [program, *words.split()], cwd=home, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not (home / "begun").exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "the same command goes on from what is finished (resumed/.pruning)" in said
    cut = home / "resumed" / ".pruning" / "cut1.json"
    before = cut.stat().st_mtime_ns
    (home / "stall").unlink()
    cut.chmod(0o444)
    other = subprocess.run([program, *words.replace("0.3", "0.4").split()], cwd=home, capture_output=True, text=True)
    assert other.returncode == 2
    assert "holds the interrupted work of another call" in other.stderr
    assert cut.stat().st_mtime_ns == before
    done = subprocess.run([program, *words.split()], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (home / "resumed" / ".pruning").exists()

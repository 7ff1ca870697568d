"""`edgedl train` as a user meets it: killed, interrupted, on a full disk, on several devices."""

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
from safetensors.numpy import load_file

from conftest import Run

NET = """
import os, time
import numpy as np
from torch import nn
import torch
import edgedl

ROWS = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)

def data(progress):
    return ROWS, ROWS.sum(1, keepdims=True)

def error(module, rows, sums):
    time.sleep(float(os.environ.get("SLOW", 0)))
    return ((module(rows) - sums) ** 2).mean()

def evaluate(predict):
    wrong = ((predict({"x": ROWS})["output"] - ROWS.sum(1, keepdims=True)) ** 2)[:, 0]
    return edgedl.Score("squared error", float(wrong.mean()), False, tuple(map(float, wrong)))

def made(**changes):
    stage = edgedl.Stage(error, data, **{"epochs": 5, "batch": 8, **changes})
    model = lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))
    return edgedl.Task("net", model, lambda: {"x": ROWS[:1]}, fit=edgedl.Loop((stage,)), evaluate=evaluate, licence="CC0")

task = made()
other = made(epochs=6)
hot = made(learning_rate=1e30)

def own():
    return edgedl.Task("own", lambda: nn.Linear(4, 1), lambda: {"x": ROWS[:1]}, fit=lambda module, seed, progress: module)
"""
TRAIN = ("train", "net.py:task", "--checkpoint-every", "0", "-o")
EDGEDL = Path(sys.executable).with_name("edgedl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def stopped(folder: Path, how: signal.Signals) -> subprocess.CompletedProcess[str]:
    """A training that is sent a signal once it has a checkpoint."""
    environment = {**os.environ, "SLOW": "0.05"}
    process = subprocess.Popen(
        [EDGEDL, *TRAIN, "out"], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (folder / "out" / "net.checkpoint").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    out, told = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def left(folder: Path) -> list[str]:
    """What is in the folder of the outputs; it is gone where nothing came of it."""
    return sorted(path.name for path in (folder / "out").glob("*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_goes_on(quick_command: Run, folder: Path, how: signal.Signals) -> None:
    first = stopped(folder, how)
    assert first.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert left(folder) == ["net.checkpoint"]
        (told,) = first.stderr.split("\n", 1)[1].splitlines()  # after the line that ^C stands on
        assert told.startswith("interrupted: the same command goes on from step ")
    done = quick_command(*TRAIN, "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result["resumed"] < result["steps"] == 40
    assert "net.checkpoint" not in left(folder)
    assert quick_command(*TRAIN, "whole", cwd=folder).returncode == 0
    resumed, whole = (load_file(folder / name / "net.safetensors") for name in ("out", "whole"))
    assert all(np.array_equal(resumed[key], whole[key]) for key in whole)


def test_a_checkpoint_of_another_training_and_force(quick_command: Run, folder: Path) -> None:
    stopped(folder, signal.SIGINT)
    refused = quick_command("train", "net.py:other", "-o", "out", cwd=folder)
    assert refused.returncode == 2
    assert "belongs to another training (seed 0, 5 epochs of batch 8" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    anew = quick_command("train", "net.py:other", "-o", "out", "--force", "--json", cwd=folder)
    assert json.loads(anew.stdout)["resumed"] == 0


def test_the_result_page(quick_command: Run, folder: Path) -> None:
    done = quick_command("train", "net.py:task", "-o", "out", "--seed", "3", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "net: squared error " in done.stdout
    assert left(folder) == ["net.safetensors", "net.training.html", "net.training.json", "net.training.md"]
    page = (folder / "out" / "net.training.md").read_text()
    for told in ("CC0", "Seed: 3", "5 epochs of batch 8", "40 steps in ", "Energy: ", "CO2: "):
        assert told in page
    again = quick_command("train", "net.py:task", "-o", "out", cwd=folder)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_loss_that_is_not_a_number(quick_command: Run, folder: Path) -> None:
    done = quick_command("train", "net.py:hot", "-o", "out", "--checkpoint-every", "0", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("edgedl: training diverged: the loss is ")
    assert len(done.stderr.splitlines()) == 1
    assert left(folder) == []


def test_a_disk_that_takes_no_more(folder: Path) -> None:
    """A limit on the size of files stands for it: the system's answer to a write is an error of the same kind."""
    words = f"ulimit -f 2; exec {EDGEDL} train net.py:task -o out --checkpoint-every 0"
    done = subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("edgedl: cannot write net.checkpoint into out: File too large; nothing was changed")
    assert len(done.stderr.splitlines()) == 1
    assert left(folder) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("net.py:task", "--device", "cuda"), 3, "--device cuda: torch "),
        (("net.py:task", "--device", "cpu", "--precision", "16-mixed"), 2, "precision 16-mixed needs a GPU"),
        (("net.py:own", "--device", "cpu"), 2, "the fit of own is a function, which computes where it likes"),
        (("net.py:task", "--devices", "0"), 2, "0 is not in the range x>=1"),
        (("net.py:task", "--devices", "9", "--strategy", "ddp"), 2, "9 devices cannot share a batch of 8"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    quick_command: Run, folder: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = quick_command("train", *words, "-o", "out", cwd=folder, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert left(folder) == []


@pytest.mark.slow
def test_two_processes_train_as_one_does(command: Run, folder: Path) -> None:
    one = command("train", "net.py:task", "-o", "one", "--json", cwd=folder)
    words = ("train", "net.py:task", "-o", "two", "--devices", "2", "--strategy", "ddp", "--json")
    two = command(*words, cwd=folder)
    assert two.returncode == 0, two.stderr
    assert two.stderr == ""
    assert json.loads(two.stdout)["steps"] == json.loads(one.stdout)["steps"]
    assert json.loads(two.stdout)["score"]["value"] == pytest.approx(json.loads(one.stdout)["score"]["value"], abs=0.5)
    record = json.loads((folder / "two" / "net.training.json").read_text())
    assert (record["engine"]["devices"], record["engine"]["strategy"]) == (2, "ddp")

"""What every verb has in common: help, JSON, traceback on demand, interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from edgedl import Artifact, __version__
from edgedl.cli import VERBS

NET = """
import torch
print("a net that talks")
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        print("and talks")
        self.linear = torch.nn.Linear(4, 3)
    def forward(self, x):
        print("in forward")
        return self.linear(x)
"""


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_has_examples(command: Run, tmp_path: Path, verb: str) -> None:
    done = command(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout
    assert f"edgedl {verb} " in done.stdout
    assert done.stderr == ""


def test_help_lists_every_verb_and_the_exit_codes(command: Run, tmp_path: Path) -> None:
    done = command("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert [verb for verb in VERBS if f"  {verb} " not in done.stdout] == []
    assert "130" in done.stdout
    assert command("--version", cwd=tmp_path).stdout == f"edgedl, version {__version__}\n"


def test_no_verb_shows_the_help_and_is_wrong(command: Run, tmp_path: Path) -> None:
    done = command(cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: edgedl" in done.stderr + done.stdout


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion(command: Run, tmp_path: Path, shell: str, word: str) -> None:
    done = command("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert word in done.stdout
    assert "_EDGEDL_COMPLETE" in done.stdout


def test_completion_completes(command: Run, tmp_path: Path) -> None:
    done = command(cwd=tmp_path, _EDGEDL_COMPLETE="bash_complete", COMP_WORDS="edgedl ex", COMP_CWORD="1")
    assert "export" in done.stdout


def test_completion_of_an_unknown_shell(command: Run, tmp_path: Path) -> None:
    done = command("completion", "tcsh", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("edgedl: ")


@pytest.mark.parametrize("words", [("--debug", "inspect", "none.onnx"), ("inspect", "none.onnx", "--debug")])
def test_debug_shows_the_traceback(command: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("edgedl: no such model file")


def test_debug_by_the_environment(command: Run, tmp_path: Path) -> None:
    assert "Traceback" in command("inspect", "none.onnx", cwd=tmp_path, EDGEDL_DEBUG="1").stderr


@pytest.fixture
def model(tmp_path: Path, digits_onnx: Artifact) -> Path:
    for path in digits_onnx.path.parent.glob("digits.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def parsed(text: str) -> Any:
    """JSON in the strict sense: NaN and Infinity are Python's own."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("inspect digits.onnx --json", "description"),
        ("run digits.onnx --json", "outputs"),
        ("verify digits.onnx --json", "parity"),
        ("quantize digits.onnx --scheme w8a8 -o out --json", "manifest"),
        ("zoo list --json", "name"),
    ],
)
def test_json_is_all_that_is_on_stdout(command: Run, model: Path, words: str, key: str) -> None:
    done = command(*words.split(), cwd=model)
    assert done.returncode == 0, done.stderr
    result = parsed(done.stdout)
    assert key in (result[0] if isinstance(result, list) else result)


def test_what_a_net_prints_stays_out_of_the_json(quick_command: Run, tmp_path: Path) -> None:
    folder = tmp_path / "my nets"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    done = quick_command("export", "my nets/net.py:Net", "--input", "x=1x4", "-o", "out put", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert parsed(done.stdout)[0]["path"] == "out put/Net.onnx"
    assert "a net that talks" in done.stderr


def test_the_way_of_a_model(quick_command: Run, model: Path) -> None:
    (model / "elsewhere").mkdir()
    steps = [
        ("quantize ../digits.onnx --scheme w8a8 -o .", "digits.w8a8.onnx"),
        ("inspect digits.w8a8.onnx", "scheme      w8a8"),
        ("run digits.w8a8.onnx", "golden outputs agree"),
        ("run digits.w8a8.onnx -o y.npz", "golden outputs agree"),
        ("verify digits.w8a8.onnx", "agrees with torch"),
        ("verify ../digits.onnx", "agrees with torch"),
    ]
    for words, said in steps:
        done = quick_command(*words.split(), cwd=model / "elsewhere")
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert done.stderr == ""


def test_channels_last_from_the_command(quick_command: Run, model: Path) -> None:
    done = quick_command(
        *["export", "zoo:digits", "--weights", "digits.safetensors", "--channels-last", "-o", "nhwc"], cwd=model
    )
    assert done.returncode == 0, done.stderr
    assert "image: float32[batch, 8, 8, 1]" in quick_command("inspect", "nhwc/digits.onnx", cwd=model).stdout
    assert quick_command("verify", "nhwc/digits.onnx", cwd=model).returncode == 0


def test_output_into_a_closed_pipe(model: Path) -> None:
    program = Path(sys.executable).with_name("edgedl")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{program}' inspect digits.onnx --json | true"],
        cwd=model, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


SLOW_FIT = """
import time
import numpy as np
from torch import nn
from edgedl import Task
def fit(module, seed, progress):
    open("begun", "w").close()
    time.sleep(60)
    return module
def example():
    return {"x": np.zeros((1, 4), np.float32)}
def calibration():
    open("begun", "w").close()
    time.sleep(60)
    return []
trained = Task("slow", lambda: nn.Linear(4, 2), example, fit=fit)
exported = Task("slow", lambda: nn.Linear(4, 2), example, calibration=calibration)
class Stalls(nn.Linear):
    def forward(self, x):
        open("begun", "w").close()
        time.sleep(60)
        return x
evaluated = Task("slow", lambda: nn.Linear(4, 2), example, evaluate=lambda predict: calibration())
"""


@pytest.mark.parametrize(
    "words", ["train net.py:trained -o out", "export net.py:exported -o out", "export net.py:evaluated -o out"]
)
def test_an_interrupt_leaves_no_debris(tmp_path: Path, words: str) -> None:
    (tmp_path / "net.py").write_text(SLOW_FIT)
    program = Path(sys.executable).with_name("edgedl")
    child = subprocess.Popen(
        [program, *words.split()], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)  # a terminal interrupts the whole group
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert said.strip() == "interrupted: nothing half-written was left behind"
    assert not (tmp_path / "out").exists()

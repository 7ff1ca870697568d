"""`edgedl benchmark --end-to-end`: a task's own processing beside the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Run

TASK = """
import numpy as np
import torch
from edgedl import Processing, Task

def task(processing=None):
    return Task("net", lambda: torch.nn.Linear(4, 2), lambda: {"x": np.ones((1, 4), np.float32)}, processing=processing)

def before(raw):
    return {"x": np.frombuffer(raw, np.uint8)[None].astype(np.float32)}

def after(outputs):
    assert outputs["output"].shape == (1, 2)
    return sorted(range(20000))

def whole():
    return task(Processing(lambda: [b"abcd", b"efgh"], before, after))

def none():
    return task(Processing(lambda: [], before, after))
"""
FEW = ("--seconds", "0", "--runs", "6", "--rounds", "6")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(TASK)
    return tmp_path


def test_the_parts_and_their_sum(quick_command: Run, here: Path) -> None:
    assert quick_command("export", "net.py:whole", cwd=here).returncode == 0
    done = quick_command("benchmark", "net.onnx", "--end-to-end", *FEW, "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    (subject,) = json.loads(done.stdout)["subjects"]
    found = {figure["name"]: figure["value"] for figure in subject["figures"]}
    assert list(found)[-3:] == ["preprocessing", "postprocessing", "end to end"]
    assert found["end to end"] > found["preprocessing"] + found["postprocessing"] > found["preprocessing"] > 0
    assert (subject["inputs"], subject["input_shapes"], subject["input_sets"]) == ("task", {"x": [1, 4]}, 2)
    table = quick_command("benchmark", "net.onnx", "--end-to-end", *FEW, cwd=here)
    assert "preprocessing" in table.stdout


@pytest.mark.parametrize(
    ("task", "more", "said"),
    [
        ("task", (), "the task net has no processing; see docs/measure.md"),
        ("none", (), "the task's processing gives no raw inputs"),
        ("whole", ("--mode", "cold"), "--end-to-end is for single inputs of the task's own"),
        ("whole", ("--target", "@targets.toml"), "--end-to-end is for single inputs of the task's own"),
    ],
)
def test_what_cannot_be_timed(quick_command: Run, here: Path, task: str, more: tuple[str, ...], said: str) -> None:
    done = quick_command("benchmark", f"net.py:{task}", "--end-to-end", *FEW, *more, cwd=here)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

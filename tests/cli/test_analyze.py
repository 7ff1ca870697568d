from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conftest import Run

NETS = """
import torch
from torch import nn

class Svd(nn.Module):
    def forward(self, x):
        y = x + 1
        return torch.linalg.svd(y)[1]

class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x

class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(2, -1)

class Fine(nn.Module):
    def forward(self, x):
        return torch.relu(x)
"""


def analyze(command: Run, folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "net.py").write_text(NETS)
    return command("analyze", f"net.py:{name}", "--input", "x=4x4", "--dynamic", "x:0=batch", *words, cwd=folder)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("Svd", 8, "counterpart of the operator aten._linalg_svd.default"),
        ("Branch", 12, "depends on the values of a tensor"),
        ("Fixed", None, "an axis declared dynamic is fixed to 2"),
    ],
)
def test_every_obstacle_has_its_line_and_a_way_round(
    quick_command: Run, tmp_path: Path, name: str, line: int | None, words: str
) -> None:
    done = analyze(quick_command, tmp_path, name, "--to", "onnx", "--to", "tflite", "--json")
    assert done.returncode == 1, done.stderr
    obstacles = json.loads(done.stdout)
    assert [obstacle["format"] for obstacle in obstacles] == ["onnx", "tflite"]
    for obstacle in obstacles:
        assert words in obstacle["what"]
        assert obstacle["way_round"]
        assert line is None or obstacle["line"].endswith(f"net.py:{line}")
    assert done.stderr.strip().count("\n") == 0


def test_nothing_in_the_way(command: Run, tmp_path: Path) -> None:
    done = analyze(command, tmp_path, "Fine", "--to", "onnx", "--to", "tflite")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing is known that stands in the way of onnx and tflite" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["net.py"]

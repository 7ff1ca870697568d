"""`edgedl quantize`: what its options and gates do, as the installed command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from edgedl import Artifact

NET = """
import numpy as np
import torch
from torch import nn
from edgedl import Task

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(4, 8, 3), nn.Linear(8 * 16, 5)
        for weight in self.parameters():
            weight.data = torch.where(torch.arange(weight.numel()).reshape(weight.shape) % 7 > 0, 0.1, -0.05)

    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).flatten(1))

net = Net().eval()
rows = {"x": np.random.default_rng(0).random((16, 4, 6, 6), dtype=np.float32)}

def saturating():
    return Task("net", lambda: net, lambda: {"x": rows["x"][:1]}, {"x": {0: "batch"}}, ("y",), lambda: [rows])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def evidence(path: Path) -> dict[str, Any]:
    manifest = Artifact.open(path).manifest
    assert manifest is not None
    return {**manifest.evidence, "options": manifest.provenance["options"]}


def test_sums_that_saturate_are_told_and_mended(command: Run, folder: Path) -> None:
    words = ("quantize", "net.py:saturating", "--scheme", "w8a8", "--no-speed-check")
    done = command(*words, "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = next(line for line in done.stdout.splitlines() if "saturation" in line)
    assert "AVX2 without VNNI: 2 of 2 integer layers lose sums" in told
    assert told.endswith("mend it with --narrow auto")
    assert evidence(folder / "out/net.w8a8.onnx")["saturation"]["by_instruction_set"]["AVX2"] == "saturates"
    shown = command("inspect", "out/net.w8a8.onnx", cwd=folder).stdout.splitlines()
    assert shown[-3].startswith("saturation  AVX2 without VNNI: 2 of 2")
    assert all("outputs lost something, error" in line for line in shown[-2:])
    mended = command(*words, "--narrow", "auto", "-o", "mended", cwd=folder)
    assert mended.returncode == 0, mended.stderr
    assert "saturation" not in mended.stdout
    found = evidence(folder / "mended/net.w8a8.onnx")
    assert len(found["options"]["narrow"]) == 2
    assert found["saturation"]["by_instruction_set"]["AVX2"] == "exact"


def test_a_file_without_a_manifest_is_looked_at(command: Run, folder: Path) -> None:
    command("quantize", "net.py:saturating", "--scheme", "w8a8", "--no-speed-check", cwd=folder)
    (folder / "net.w8a8.onnx").rename(folder / "foreign.onnx")
    by_bound = json.loads(command("inspect", "foreign.onnx", "--json", cwd=folder).stdout)["description"]["saturation"]
    assert by_bound["by_instruction_set"]["AVX2"] == "could saturate"
    tried = command("inspect", "foreign.onnx", "--calibration", "net.py:saturating", cwd=folder)
    assert "integer layers lose sums" in tried.stdout
    missing = command("inspect", "foreign.onnx", "--calibration", "rows.npz", cwd=folder)
    assert missing.returncode == 2
    assert "expected an .npz or .npy file" in missing.stderr

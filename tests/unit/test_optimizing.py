"""What `optimize` does with files that do not pay."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedl.measure.statistics import Estimate
from edgedl.optimizing import optimize
from edgedl.recipe import Recipe
from edgedl.worth import Worth

NET = """
import numpy as np
import torch
from torch import nn
from edgedl import Task

rows = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
torch.manual_seed(0)
net = nn.Linear(64, 64)
task = Task("net", lambda: net, lambda: {"x": rows}, calibration=lambda: [{"x": rows}])
"""


@pytest.mark.parametrize("allowed", [False, True])
def test_a_slower_file_is_refused_with_the_reason_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    slow = Worth("net.w8.onnx", "net.onnx", 1, 2, Estimate(0.2, 0.1, 0.3), "engine 1", "local", ("HARD_SWISH +90 us",))
    monkeypatch.setattr("edgedl.quantizing.speed_judge", lambda *_: lambda artifact: slow)
    (tmp_path / "net.py").write_text(NET)
    recipe = Recipe(
        f"{tmp_path}/net.py:task",
        formats=("onnx",),
        schemes=("w8",),
        runs=2,
        seconds=0.01,
        rounds=6,
        allow_slower=allowed,
    )
    done = optimize(recipe, tmp_path / "out")
    names = [artifact.path.name for artifact in done.artifacts]
    assert names == (["net.onnx", "net.w8.onnx"] if allowed else ["net.onnx"])
    assert set(done.refused) == (set() if allowed else {"net.w8.onnx"})
    for name, why in done.refused.items():
        assert "5.00x slower than net.onnx" in why
        assert f"{name} was refused: {why}" in done.report.warnings

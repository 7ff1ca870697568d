"""What a proof says of lengths, in the manifest and in a session."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Axis, Task
from edgedl.artifact import Artifact, Manifest, manifest_path
from edgedl.errors import InvalidArtifact, InvalidTensor
from edgedl.proven_lengths import length_check
from edgedl.spec import Array


class Mean(nn.Module):
    def __init__(self, longest: int | None = None) -> None:
        super().__init__()
        self.linear, self.longest = nn.Linear(3, 2), longest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y[:, : self.longest].mean(1) if self.longest else y.mean(1)


def exported(folder: Path, time: Axis | str = "time", longest: int | None = None) -> Artifact:
    torch.manual_seed(0)
    task = Task("net", lambda: Mean(longest), lambda: {"x": rows(2, 5)}, {"x": {0: "batch", 1: time}})
    return edgedl.export(task, ("onnx",), folder)[0]


def rows(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal((*shape, 3)).astype(np.float32)


def test_declared_lengths_are_proven_and_a_batch_without_a_range_beyond(tmp_path: Path) -> None:
    artifact = exported(tmp_path, Axis("time", 4, 32))
    assert artifact.manifest and artifact.manifest.proven == {"batch": (1, 64), "time": (4, 32)}
    again = Artifact.open(artifact.path)
    assert again.manifest and again.manifest.proven == artifact.manifest.proven
    with edgedl.load(artifact) as session:
        assert session.run({"x": rows(64, 32)})["output"].shape == (64, 2)
        with pytest.raises(InvalidTensor, match=r"'x' has time=33, .* 4 to 32: .*--dynamic x:1=time:4\.\.33"):
            session.run({"x": rows(1, 33)})
        with pytest.raises(InvalidTensor, match=r"time=3, .*time:3\.\.32"):
            session(rows(1, 3))
        with pytest.raises(InvalidTensor, match="shape"):
            session.run({"x": rows(1)})
    with edgedl.load(artifact, unproven=True) as session:
        assert session.run({"x": rows(1, 33)})["output"].shape == (1, 2)


def test_lengths_behind_which_the_original_changes_stay_unproven(tmp_path: Path) -> None:
    manifest = exported(tmp_path, longest=40).manifest
    assert manifest and manifest.proven["batch"] == (1, 64) and manifest.proven["time"][1] == 16


def test_manifests_without_lengths_refuse_none_and_odd_ones_are_refused(tmp_path: Path) -> None:
    artifact = exported(tmp_path)
    assert artifact.manifest
    written = json.loads(manifest_path(artifact.path).read_text())
    old = Manifest.from_json(json.dumps({k: v for k, v in written.items() if k != "proven"}), "old")
    assert old.proven == {} and length_check(old) is None
    with pytest.raises(InvalidArtifact, match="proven lengths of 'batch'"):
        Manifest.from_json(json.dumps({**written, "proven": {"batch": [1]}}), "odd")

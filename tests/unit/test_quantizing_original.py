"""The way back from an artifact to what it was made from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from edgedl.artifact import Artifact, Manifest
from edgedl.errors import InvalidInput
from edgedl.quantizing import original_of
from edgedl.reference import TaskReference


def made_from(weights: str, folder: Path) -> Artifact:
    told = {"task": asdict(TaskReference("zoo:mlp", weights)), "weights_sha256": "0" * 64, "made_in": "."}
    return Artifact(folder / "mlp.onnx", Manifest("mlp", "onnx", "fp32", (), (), 1, "", provenance=told))


def test_weights_that_stayed_behind_are_not_called_changed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"are not here \(gone\.safetensors\): put that file beside"):
        original_of(made_from("gone.safetensors", tmp_path), None)


def test_other_weights_are_called_changed(tmp_path: Path) -> None:
    (tmp_path / "mlp.safetensors").write_bytes(b"other")
    with pytest.raises(InvalidInput, match=r"mlp\.safetensors has changed since"):
        original_of(made_from("mlp.safetensors", tmp_path), None)

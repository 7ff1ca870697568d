from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import edgedl
from edgedl.errors import InvalidReference
from edgedl.program_file import look_through, task


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    batch = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(nn.Linear(4, 2).eval(), (torch.ones(3, 4),), dynamic_shapes=batch), str(path))
    return path


def test_a_saved_program_exports_with_its_axes(saved: Path, tmp_path: Path) -> None:
    (artifact,) = edgedl.export(str(saved), ["onnx"], tmp_path)
    assert artifact.manifest
    assert isinstance(artifact.manifest.inputs[0].shape[0], str)
    assert artifact.manifest.inputs[0].shape[1] == 4


@pytest.mark.parametrize("keep", [0, 10, 300, -100])
def test_a_truncated_program_is_refused(saved: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(InvalidReference, match=r"net\.pt2 is (not a whole \.pt2 file|refused)"):
        task(path)


def altered(saved: Path, path: Path, member: str, data: bytes) -> Path:
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        target.writestr(member, data)
    return path


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(Touch(tmp_path / "ran"), buffer)
    path = altered(saved, tmp_path / "net.pt2", "net/data/sample_inputs/evil.pt", buffer.getvalue())
    with pytest.raises(InvalidReference, match="holds more than tensors, which could run code"):
        look_through(path)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    config = json.dumps({"config": {"w": {"use_pickle": True}}}).encode()
    path = altered(saved, tmp_path / "net.pt2", "net/data/weights/more_config.json", config)
    with pytest.raises(InvalidReference, match="asks for pickled weights"):
        look_through(path)

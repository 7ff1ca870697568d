from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl import tensorfile
from edgedl.artifact import Artifact, Manifest, format_of, golden_path, manifest_path
from edgedl.errors import InvalidArtifact, UnknownName
from edgedl.files import sha256
from edgedl.spec import Quantization, TensorSpec
from mutated import Place, check_refused_or_read, places

MANIFEST = Manifest(
    "net", "onnx", "w8a8",
    (TensorSpec("x", ("batch", 3), "int8", Quantization(0.5, -3)), TensorSpec("t", (), "int64")),
    (TensorSpec("y", ("batch", 10), "float32"),),
    4, "0" * 64, 20, {"task": None}, {"parity": []},
)  # fmt: skip


def written(folder: Path, data: bytes = b"data", **changes: Any) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(data)
    manifest_path(path).write_text(replace(MANIFEST, sha256=sha256(path), **changes).to_json())
    return path


def test_manifest_round_trip() -> None:
    assert Manifest.from_json(MANIFEST.to_json(), "m") == MANIFEST


CORE = {key: value for key, value in json.loads(MANIFEST.to_json()).items() if key not in ("provenance", "evidence")}


@pytest.mark.parametrize("place", places(CORE), ids=str)
@pytest.mark.parametrize("value", [None, 3.5, "text", [], {}, [None], {"a": 1}, True], ids=repr)
def test_a_field_of_another_type_is_refused_or_read(place: Place, value: Any) -> None:
    check_refused_or_read(MANIFEST, place, value)


@pytest.mark.parametrize("key", sorted(CORE))
def test_a_missing_field_is_refused_unless_it_has_a_default(key: str) -> None:
    data = {name: value for name, value in json.loads(MANIFEST.to_json()).items() if name != key}
    if key in ("opset", "states", "group", "proven"):
        assert not getattr(Manifest.from_json(json.dumps(data), "m"), key)
    else:
        with pytest.raises(InvalidArtifact):
            Manifest.from_json(json.dumps(data), "m")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, '{"schema_version": 1, "more": 2}'])
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InvalidArtifact, match="export the model again"):
        Manifest.from_json(text, "m")


@pytest.mark.parametrize("name", ["../../../x", "/tmp/x", "a\\b", "..", ".x", "-x", "a\nb"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    """The name of an artifact names the files that are made from it."""
    with pytest.raises(InvalidArtifact, match="is no file name"):
        Manifest.from_json(replace(MANIFEST, name=name).to_json(), "m")


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_a_changed_character_raises_nothing_else(position: int, character: str) -> None:
    text = MANIFEST.to_json()
    try:
        assert Manifest.from_json(text[:position] + character + text[position + 1 :], "m")
    except InvalidArtifact as error:
        assert "m is not an edgedl manifest" in str(error)


def test_a_newer_schema_is_refused_by_its_version() -> None:
    with pytest.raises(InvalidArtifact, match="schema version 2, expected 1"):
        Manifest.from_json(replace(MANIFEST, schema_version=2).to_json(), "m")


def test_open_checks_the_checksum(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert Artifact.open(path).manifest is not None
    path.write_bytes(b"dat4")
    with pytest.raises(InvalidArtifact, match="sha256 differs"):
        Artifact.open(path)


def test_open_without_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"data")
    artifact = Artifact.open(tmp_path / "net.tflite")
    assert (artifact.manifest, artifact.format) == (None, "tflite")


def test_open_with_a_binary_manifest(tmp_path: Path) -> None:
    path = written(tmp_path)
    manifest_path(path).write_bytes(bytes(range(256)))
    with pytest.raises(InvalidArtifact, match="not an edgedl manifest"):
        Artifact.open(path)


def test_open_says_what_is_there_instead(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(InvalidArtifact, match=r"no such model file: .*nett\.onnx; .* holds net\.onnx"):
        Artifact.open(tmp_path / "nett.onnx")
    with pytest.raises(InvalidArtifact, match="no folder"):
        Artifact.open(tmp_path / "none" / "net.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArtifact, match="edgedl export TASK"):
        Artifact.open(tmp_path / "empty" / "net.onnx")


def test_open_refuses_an_empty_file_a_folder_and_a_foreign_suffix(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InvalidArtifact, match="is empty"):
        Artifact.open(tmp_path / "empty.onnx")
    with pytest.raises(InvalidArtifact, match="no such model file"):
        Artifact.open(tmp_path / "folder.onnx")
    with pytest.raises(UnknownName, match=r"expected one of \.ncnn, \.onnx, \.tflite"):
        format_of(tmp_path / "model.pb")


def test_golden_vectors(tmp_path: Path) -> None:
    path = written(tmp_path)
    tensors = {"input/a/b": np.arange(3.0), "output/a/b": np.arange(2)}
    golden_path(path).write_bytes(tensorfile.encode(tensors))
    inputs, outputs = Artifact.open(path).golden()
    assert inputs["a/b"].tolist() == [0, 1, 2]
    assert outputs["a/b"].tolist() == [0, 1]


def test_golden_vectors_missing_or_broken(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(InvalidArtifact, match="no golden vectors"):
        Artifact.open(path).golden()
    golden_path(path).write_bytes(b"junk")
    with pytest.raises(InvalidArtifact, match=r"golden\.safetensors is not a whole"):
        Artifact.open(path).golden()

"""The manifest of an artifact group: what it may say, and what a broken or crafted one does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgedl
import reverser
from edgedl import tensorfile
from edgedl.artifact import Artifact, Manifest, format_of, golden_path, is_group, is_model, manifest_path
from edgedl.errors import InvalidArtifact, UnknownName
from edgedl.group import DecodeLoop, Group, MemberFile, parse
from edgedl.spec import State, TensorSpec
from mutated import check_refused_or_read, places

GROUP = Group(
    {"encoder": MemberFile("encoder.onnx", "0" * 64), "decoder": MemberFile("decoder.onnx", "1" * 64)},
    reverser.LOOP,
    {"tokens": reverser.WORDS},
)
MANIFEST = Manifest(
    "net", "onnx", "w8", (TensorSpec("source", ("batch", 4), "int64"),), (TensorSpec("tokens", ("batch", 6), "int64"),),
    9, GROUP.sha256, 20, group=GROUP,
)  # fmt: skip


def test_round_trip() -> None:
    assert parse(json.loads(json.dumps(asdict(GROUP)))) == GROUP
    assert Manifest.from_json(MANIFEST.to_json(), "m") == MANIFEST


@pytest.mark.parametrize("value", [None, 3.5, "text", "../x", [], {}, [None], {"a": 1}, True, -1], ids=repr)
def test_a_field_of_another_type_is_refused_or_read(value: Any) -> None:
    found = places(json.loads(MANIFEST.to_json())["group"], ("group",))
    assert found
    for place in found:
        check_refused_or_read(MANIFEST, place, value)


@pytest.mark.parametrize("file", ["../encoder.onnx", "/etc/passwd", "a/b.onnx", "..\\b.onnx", "", ".", ".."])
def test_a_member_lies_in_the_folder(file: str) -> None:
    data = json.loads(json.dumps(asdict(GROUP)))
    data["members"]["encoder"]["file"] = file
    with pytest.raises(ValueError, match="is no file name"):
        parse(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feeds": {"hidden": "last", "memory": "memry"}}, "the encoder has no input and no output 'memry'"),
        ({"feeds": {"hidden": "last"}}, "nothing feeds the decoder's input 'memory'"),
        ({"feeds": {"hiden": "last", "memory": "memory"}}, "the decoder has no input 'hiden'"),
        ({"logits": "scores"}, "the decoder has no output 'scores'"),
        ({"token": "word"}, "the decoder has no input 'word'"),
        ({"states": (State("hidden", "next"),)}, "the decoder has no output 'next'"),
        ({"states": (State("hidden", "hidden_next"),)}, "no state is 'context'"),
        ({"zeros": {"context": (12,), "hidden": (12,)}}, "the decoder's input 'hidden' is fed twice"),
        ({"length": 0}, "length 0 and beam 1 are to be 1 or more"),
        ({"beam": 0}, "beam 0"),
        ({"end": -1}, "end -1"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    encoder = (["source"], ["memory", "last"])
    decoder = (list(reverser.DECODER), ["logits", "hidden_next", "context_next"])
    assert reverser.LOOP.flaw(encoder, decoder) is None
    assert message in str(replace(reverser.LOOP, **change).flaw(encoder, decoder))


def test_an_unknown_kind_of_loop_is_refused() -> None:
    data = json.loads(json.dumps(asdict(GROUP)))
    data["loop"]["kind"] = "transducer"
    with pytest.raises(ValueError, match="the loop is a 'transducer', expected 'encoder-decoder'"):
        parse(data)


def test_names() -> None:
    path = Path("out/net.w8.tflite.group")
    assert is_group(path) and is_model(path) and format_of(path) == "tflite"
    assert not is_model(Path("net.group")) and not is_group(Path("net.onnx"))
    assert manifest_path(path) == path / "manifest.json"
    assert golden_path(path) == path / "golden.safetensors"
    with pytest.raises(UnknownName, match="unknown model file type"):
        format_of(Path("net.group"))


@pytest.fixture(scope="module")
def made(reverse_onnx: Artifact) -> Artifact:
    return reverse_onnx


def copied(made: Artifact, folder: Path) -> Path:
    return Path(shutil.copytree(made.path, folder / made.path.name))


def test_a_copied_group_opens_and_tells_its_size(made: Artifact, tmp_path: Path) -> None:
    opened = Artifact.open(copied(made, tmp_path))
    assert opened.manifest == Manifest.from_json(manifest_path(made.path).read_text(), "m")
    assert opened.size == sum((opened.path / f"{name}.onnx").stat().st_size for name in ("encoder", "decoder"))
    assert opened.manifest and opened.manifest.size == opened.size
    inputs, outputs = opened.golden()
    assert inputs["source"].shape == (2, 4)
    assert outputs["tokens"].shape == (2, 6)


def test_no_such_group(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"no such artifact group: .*net.onnx.group"):
        Artifact.open(tmp_path / "net.onnx.group")
    (tmp_path / "net.onnx.group").mkdir()
    with pytest.raises(InvalidArtifact, match=r"net.onnx.group holds no manifest.json: export the task again"):
        Artifact.open(tmp_path / "net.onnx.group")


def test_an_altered_member_is_found(made: Artifact, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    member = path / "decoder.onnx"
    member.write_bytes(member.read_bytes()[:-1] + b"x")
    with pytest.raises(
        InvalidArtifact, match=r"decoder.onnx is not the file that decoder.onnx.manifest.json describes"
    ):
        edgedl.load_group(path)


def test_a_member_of_another_group_is_found(made: Artifact, tmp_path: Path) -> None:
    """Whole in itself, and not the one that the loop was proven with."""
    path = copied(made, tmp_path)
    other = edgedl.quantize(made, "w8", tmp_path, task=reverser.task)
    for file in other.path.glob("decoder.w8*"):
        file.replace(path / file.name.replace(".w8", ""))
    with pytest.raises(InvalidArtifact, match=r"decoder.onnx is not the file that its group was proven with"):
        edgedl.load_group(path)


def test_a_missing_member_and_a_manifest_of_one_file(made: Artifact, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    (path / "encoder.onnx").unlink()
    with pytest.raises(InvalidArtifact, match=r"no such model file: .*encoder.onnx"):
        Artifact.open(path)
    manifest_path(path).write_text((path / "decoder.onnx.manifest.json").read_text())
    with pytest.raises(InvalidArtifact, match="does not describe an artifact group"):
        Artifact.open(path)


def test_a_loop_that_does_not_fit_its_members(made: Artifact, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    data = json.loads(manifest_path(path).read_text())
    data["group"]["loop"]["feeds"]["memory"] = "memry"
    manifest_path(path).write_text(json.dumps(data))
    with pytest.raises(
        InvalidArtifact, match=r"the loop does not fit its members: .* no output 'memry' \(.*\); export"
    ):
        edgedl.load(path)


def test_one_model_file_is_no_group(made: Artifact) -> None:
    with pytest.raises(InvalidArtifact, match=r"encoder.onnx is one model file: load it with edgedl.load"):
        edgedl.load_group(made.path / "encoder.onnx")


def test_golden_vectors_of_a_group_are_read_strictly(made: Artifact, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    golden_path(path).write_bytes(golden_path(path).read_bytes()[:40])
    with pytest.raises(InvalidArtifact):
        Artifact.open(path).golden()
    golden_path(path).write_bytes(tensorfile.encode({"input/source": np.zeros((1, 4), np.int64)}))
    assert Artifact.open(path).golden()[1] == {}


def test_loop_is_public() -> None:
    assert edgedl.DecodeLoop is DecodeLoop and edgedl.State is State

"""An encoder-decoder from its Task to proven groups: members, loop, score, and every way in which that is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgedl
import reverser
from edgedl import Artifact, Task, TaskReference, registry
from edgedl.analysis import analyze
from edgedl.artifact import manifest_path
from edgedl.decoding import cut
from edgedl.delivery import Claim
from edgedl.errors import (
    GateFailed,
    InvalidInput,
    InvalidReference,
    InvalidTensor,
    OutputExists,
    UnknownName,
    Unsupported,
)
from edgedl.exporter import QuantizationOptions
from edgedl.grouping import deliver_group, loop_reference
from edgedl.measure import InputChoice, Plan, measure, subjects_of
from edgedl.parts import Parts
from edgedl.report import build
from edgedl.report.sources import collect
from edgedl.schemes import SCHEMES
from edgedl.verifying import verify

SELF = f"{reverser.__file__}:task"


@pytest.fixture(scope="module")
def group(reverse_onnx: Artifact) -> Artifact:
    return reverse_onnx


@pytest.fixture(scope="module")
def quantized(group: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return edgedl.quantize(group, "w8", tmp_path_factory.mktemp("w8"))


def evidence(artifact: Artifact) -> Any:
    assert artifact.manifest
    return artifact.manifest.evidence


def test_members_loop_and_score_are_proven(group: Artifact) -> None:
    assert group.path.name == "reverse.onnx.group"
    assert sorted(path.name for path in group.path.iterdir()) == [
        "decoder.onnx", "decoder.onnx.golden.safetensors", "decoder.onnx.manifest.json",
        "encoder.onnx", "encoder.onnx.golden.safetensors", "encoder.onnx.manifest.json",
        "golden.safetensors", "manifest.json",
    ]  # fmt: skip
    told = evidence(group)
    assert told["passed"]
    assert told["match"] == {"sequences": 96, "equal": 1.0, "least": 0.99}
    assert {case["case"].split(",")[0] for case in told["parity"]} == {"encoder", "decoder"}
    assert max(case["relative_rms"] for case in told["parity"]) < 1e-5
    assert told["score"]["name"] == "first right"
    assert told["score"]["drop"] == 0
    assert group.manifest and group.manifest.provenance["task"]["text"] == SELF


def test_a_member_is_an_artifact_like_any_other(group: Artifact) -> None:
    decoder = Artifact.open(group.path / "decoder.onnx")
    assert decoder.manifest and decoder.manifest.provenance["task"]["text"] == f"{SELF}#decoder"
    assert verify(decoder.path).passed


def test_the_session_decodes_what_torch_decodes(group: Artifact) -> None:
    want = cut(Parts.of(reverser.task).predict({"source": reverser.ROWS})["tokens"], 0)
    with edgedl.load_group(group.path) as session:
        assert session.decode({"source": reverser.ROWS}) == want
        assert session.decode({"source": reverser.ROWS.astype(np.int32)}) == want
        assert session.run({"source": reverser.ROWS[:3]})["tokens"].shape == (3, 6)
        assert session.text(want[0]) == " ".join(reverser.WORDS[token] for token in want[0])
        assert len(session.decode({"source": reverser.ROWS[:3]}, beam=4)) == 3
    with edgedl.load(SELF) as original:
        assert cut(original.run({"source": reverser.ROWS})["tokens"], 0) == want


def test_bad_inputs_of_the_session(group: Artifact) -> None:
    with edgedl.load_group(group.path) as session:
        with pytest.raises(InvalidTensor, match=r"expected the inputs source: int64\[batch, 4\], got words"):
            session.decode({"words": reverser.ROWS})
        with pytest.raises(InvalidTensor, match=r"input 'source' has shape \(96, 3\), expected \(batch, 4\)"):
            session.run({"source": reverser.ROWS[:, :3]})
        with pytest.raises(InvalidTensor, match="beam=0: expected 1 or more"):
            session.decode({"source": reverser.ROWS}, beam=0)


def test_a_device_decodes_without_torch(group: Artifact) -> None:
    statement = (
        "import sys, edgedl\n"
        f"with edgedl.load_group({str(group.path)!r}) as session:\n"
        f"    inputs, outputs = edgedl.Artifact.open({str(group.path)!r}).golden()\n"
        "    assert (session.run(inputs)['tokens'] == outputs['tokens']).all()\n"
        "    session.decode(inputs, beam=3)\n"
        "print(*sorted({'torch', 'onnx', 'jax', 'onnxscript'} & set(sys.modules)), 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_quantized(group: Artifact, quantized: Artifact) -> None:
    assert quantized.path.name == "reverse.w8.onnx.group"
    assert quantized.size < group.size
    assert quantized.manifest and quantized.manifest.scheme == "w8"
    assert quantized.manifest.provenance["parent_sha256"] == group.sha256
    assert Artifact.open(quantized.path / "decoder.w8.onnx").manifest is not None
    assert verify(quantized.path).match == verify(quantized.path).match


def test_what_does_not_pay_for_a_member_is_refused_by_its_name(group: Artifact) -> None:
    with pytest.raises(Unsupported, match=r"the encoder of .*reverse.onnx.group: GRU .* --scheme w8 "):
        edgedl.quantize(group, "w8a8-dynamic")
    assert [path.name for path in group.path.parent.iterdir()] == ["reverse.onnx.group"]


def test_static_ranges_come_from_the_running_loop(group: Artifact, tmp_path: Path) -> None:
    static = edgedl.quantize(group, "w8a8", tmp_path, allow_slower=True)
    decoder = Artifact.open(static.path / "decoder.w8a8.onnx")
    assert decoder.manifest and decoder.manifest.provenance["calibration"] == "task"
    assert evidence(static)["passed"]


def copied(group: Artifact, folder: Path) -> Path:
    return Path(shutil.copytree(group.path, folder / group.path.name))


def test_a_group_of_no_known_task_needs_one(group: Artifact, tmp_path: Path) -> None:
    path = copied(group, tmp_path)
    data = json.loads(manifest_path(path).read_text())
    data["provenance"]["task"] = None
    manifest_path(path).write_text(json.dumps(data))
    for verb in (lambda: edgedl.quantize(path, "w8"), lambda: verify(path)):
        with pytest.raises(InvalidInput, match=r"names no task.* give it with --task|names no task; give --task"):
            verb()
    assert edgedl.quantize(path, "w8", task=reverser.task).manifest


def test_nothing_is_written_over_and_force_replaces_the_whole(
    group: Artifact, quantized: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(OutputExists, match=r"reverse.onnx.group exists already"):
        edgedl.export(reverser.task, ["onnx"], group.path.parent)
    left = copied(quantized, tmp_path)
    (left / "stray").write_text("of another version")
    with pytest.raises(OutputExists, match=r"reverse.w8.onnx.group exists already"):
        edgedl.quantize(group, "w8", tmp_path)
    edgedl.quantize(group, "w8", tmp_path, force=True)
    assert not (left / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["reverse.w8.onnx.group"]


def delivered(group: Artifact, out: Path, make: Any = None, **changes: Any) -> Artifact:
    """The group again, from its own members."""

    def copy(name: str, _: Task, folder: Path) -> Artifact:
        for file in group.path.glob(f"{name}.*"):
            shutil.copy(file, folder)
        return Artifact.open(folder / f"{name}.onnx")

    parts = Parts.of(reverser.task)
    reference = replace(loop_reference(parts), **changes)
    claim = Claim("reverse", registry.exporter("onnx"), SCHEMES["fp32"], reference, {"task": None})
    return deliver_group(out / "reverse.onnx.group", parts, claim, make or copy)


def test_sequences_that_differ_close_the_gate(group: Artifact, tmp_path: Path) -> None:
    assert delivered(group, tmp_path).path.is_dir()
    original = Parts.of(reverser.task).predict
    other = {"predict": lambda feeds: {"tokens": 9 - original(feeds)["tokens"]}, "evaluate": None}
    message = (
        r"reverse.onnx.group is not proven: 0.0% of 64 decoded sequences are the reference's, fewer than 99.0%; "
        r"the group is kept as reverse.onnx.group.failed"
    )
    with pytest.raises(GateFailed, match=message):
        delivered(group, tmp_path, **other)
    assert (tmp_path / "reverse.onnx.group.failed" / "manifest.json").is_file()


def test_a_member_that_fails_fails_the_group(tmp_path: Path) -> None:
    def fail(name: str, _: Task, folder: Path) -> Artifact:
        (folder / f"{name}.onnx.failed").write_text("")
        raise GateFailed(f"{name}.onnx is not proven")

    with pytest.raises(GateFailed, match=r"encoder.onnx is not proven; the group is kept as reverse.onnx.group.failed"):
        delivered(Artifact(Path()), tmp_path, fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["reverse.onnx.group.failed", "encoder.onnx.failed"]


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(name: str, _: Task, folder: Path) -> Artifact:
        (folder / f"{name}.onnx").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delivered(Artifact(Path()), tmp_path, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (reverser.with_loop(feeds={"hidden": "last"}), "the loop of reverse does not fit its parts: nothing feeds"),
        (
            reverser.with_part("encoder", outputs=("memory",)),
            "the loop of reverse does not fit its parts: the encoder has no input and no output 'last'",
        ),
        (
            reverser.with_part("encoder", outputs=("memory", "last", "more")),
            r"forward returned 2 tensors and 3 outputs are named \(memory, last, more\)",
        ),
        (reverser.with_loop(zeros={"context": (5,)}), r"the loop of reverse raised RuntimeError: .* \(.*reverser.py:"),
    ],
)
def test_a_loop_that_does_not_fit_is_refused_before_the_export(task: Task, message: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidInput, InvalidReference), match=message):
        edgedl.export(task, ["onnx"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_state_whose_batch_is_not_axis_0(tmp_path: Path) -> None:
    class LayersFirst(reverser.Encoder):
        def forward(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.recurrent(self.embedding(source))

    def model() -> reverser.Reverser:
        module = reverser.model()
        module.encoder = LayersFirst()
        return module

    task = replace(reverser.task, model=model, example_inputs=lambda: {"source": reverser.ROWS[:1]})
    with pytest.raises(InvalidInput, match=r"the batch is axis 0 .* for 2 rows, 'hidden' has shape \(1, 2, 12\)"):
        edgedl.export(task, ["onnx"], tmp_path)


def test_options_that_a_group_does_not_have(tmp_path: Path) -> None:
    for option in ("channels_last", "streaming"):
        with pytest.raises(Unsupported, match="an encoder-decoder is not exported"):
            edgedl.export(reverser.task, ["onnx"], tmp_path, **{option: True})
    with pytest.raises(InvalidInput, match="whose Task says which axes are dynamic"):
        edgedl.export(TaskReference(SELF, dynamic=("source:1=length",)), ["onnx"], tmp_path)


def test_references_to_parts() -> None:
    decoder = TaskReference(f"{SELF}#decoder").resolve()
    assert list(decoder.example_inputs()) == list(reverser.DECODER)
    assert decoder.calibration and len(list(decoder.calibration())) == 4 * reverser.LOOP.length
    with pytest.raises(UnknownName, match=r"unknown part of reverse 'decodr': .* did you mean 'decoder'"):
        TaskReference(f"{SELF}#decodr").resolve()
    with pytest.raises(InvalidReference, match="digits is no encoder-decoder"):
        TaskReference("zoo:digits#encoder").resolve()


def test_obstacles_are_those_of_the_parts() -> None:
    assert analyze(reverser.task, ["onnx"]) == []


def test_both_formats_are_measured_as_wholes_and_reported(group: Artifact, quantized: Artifact) -> None:
    subjects = subjects_of([group, quantized])
    record = measure(subjects, InputChoice(subjects), Plan(runs=12, seconds=0, rounds=6), lambda done, total: None)
    assert [subject.sha256 for subject in record.subjects] == [group.sha256, quantized.sha256]
    assert record.subjects[0].inputs == "golden"
    found = collect([group.path.parent, quantized.path])
    rows = build(found.artifacts, record).rows
    assert [row.name for row in rows] == ["reverse.onnx.group", "reverse.w8.onnx.group"]
    assert rows[0].score == evidence(group)["score"]["value"]


def test_tflite_gives_the_same_sequences(group: Artifact, tmp_path: Path) -> None:
    (made,) = edgedl.export(reverser.task, ["tflite"], tmp_path)
    with edgedl.load_group(made.path) as lite, edgedl.load_group(group.path) as onnx:
        for beam in (1, 3):
            assert lite.decode({"source": reverser.ROWS}, beam) == onnx.decode({"source": reverser.ROWS}, beam)


def test_a_layer_of_one_part_can_stay_in_float(group: Artifact, tmp_path: Path) -> None:
    known = {
        name: {layer.name for layer in registry.exporter("onnx").layers(m.path)} for name, m in group.members().items()
    }
    (kept, *_) = sorted(known["decoder"] - known["encoder"])
    whole, partly = (
        edgedl.quantize(group, "w8", tmp_path / str(len(names)), options=QuantizationOptions(keep_float=names))
        for names in ((), (kept,))
    )
    sizes = [{name: member.size for name, member in made.members().items()} for made in (whole, partly)]
    assert sizes[0]["encoder"] == sizes[1]["encoder"]
    assert sizes[0]["decoder"] < sizes[1]["decoder"]
    with pytest.raises(UnknownName, match="unknown layer 'no_such_layer'"):
        edgedl.quantize(group, "w8", tmp_path / "x", options=QuantizationOptions(keep_float=("no_such_layer",)))

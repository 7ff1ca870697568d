from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgedl
from edgedl import Task, registry
from edgedl.errors import GateFailed, InvalidInput, InvalidTensor, OutputExists
from edgedl.exporter import Program
from edgedl.spec import Array, Feeds
from edgedl.task import Predict
from edgedl_onnx import OnnxExporter


class Broken(OnnxExporter):
    """The ONNX exporter, with a last step that spoils what it wrote."""

    def __init__(self, spoil: Any) -> None:
        self.spoil = spoil

    def export(self, program: Program, path: Path) -> None:
        super().export(program, path)
        self.spoil(path)


def use(monkeypatch: pytest.MonkeyPatch, exporter: Any) -> None:
    monkeypatch.setattr(registry, "exporter", lambda name: exporter)


def edited(path: Path, change: Any) -> None:
    model = onnx.load(str(path))
    change(model)
    onnx.save(model, str(path))


def wrong_numbers(path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.5), weight.name))

    edited(path, change)


def not_finite(path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(np.inf), weight.name))

    edited(path, change)


def other_names(path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["serving_default" if name == "output" else name for name in node.output]
        model.graph.output[0].name = "serving_default"

    edited(path, change)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"garbage"), "linear.onnx is dead on arrival: .* kept as linear.onnx.failed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "dead on arrival"),
        (lambda path: path.write_bytes(b""), "dead on arrival: .*is empty"),
        (other_names, r"dead on arrival: .*serving_default.*expected"),
        (wrong_numbers, r"linear.onnx is not proven: output 'output' at batch=1: relative RMS error .* is over the tolerance"),
        (not_finite, r"is not proven: .* values are not finite"),
    ],
)  # fmt: skip
def test_a_bad_file_keeps_only_a_failed_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linear_task: Task, spoil: Any, said: str
) -> None:
    use(monkeypatch, Broken(spoil))
    with pytest.raises(GateFailed, match=said) as caught:
        edgedl.export(linear_task, ("onnx",), tmp_path)
    assert "\n" not in str(caught.value)
    assert "linear.onnx.failed" in names(tmp_path)
    assert set(names(tmp_path)) <= {"linear.onnx.failed", "linear.onnx.failed.manifest.json"}


def test_an_exporter_that_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linear_task: Task) -> None:
    use(monkeypatch, Broken(lambda path: path.unlink()))
    with pytest.raises(GateFailed, match="dead on arrival"):
        edgedl.export(linear_task, ("onnx",), tmp_path)
    assert names(tmp_path) == []


def test_the_first_diverging_tensor_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linear_task: Task
) -> None:
    use(monkeypatch, Broken(wrong_numbers))
    with pytest.raises(GateFailed, match=r"linear.* is the first tensor that diverges"):
        edgedl.export(linear_task, ("onnx",), tmp_path)


def test_a_search_for_the_culprit_that_fails_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linear_task: Task
) -> None:
    class Mute(Broken):
        def intermediates(self, path: Path, feeds: Feeds) -> Iterable[tuple[str, Array]]:
            raise RuntimeError("no intermediates")

    use(monkeypatch, Mute(wrong_numbers))
    with pytest.raises(GateFailed, match="is over the tolerance"):
        edgedl.export(linear_task, ("onnx",), tmp_path)
    assert "linear.onnx.failed" in names(tmp_path)


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_an_exporter_that_raises_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linear_task: Task, error: BaseException
) -> None:
    def spoil(path: Path) -> None:
        raise error

    use(monkeypatch, Broken(spoil))
    with pytest.raises(type(error)):
        edgedl.export(linear_task, ("onnx",), tmp_path)
    assert names(tmp_path) == []


def test_a_good_file_comes_with_its_evidence(tmp_path: Path, linear_task: Task) -> None:
    (artifact,) = edgedl.export(linear_task, ("onnx",), tmp_path / "new" / "folder")
    assert names(artifact.path.parent) == ["linear.onnx", "linear.onnx.golden.safetensors", "linear.onnx.manifest.json"]
    assert edgedl.Artifact.open(artifact.path).manifest is not None
    assert artifact.manifest is not None
    evidence = artifact.manifest.evidence
    assert evidence["passed"] is True
    assert [p["case"] for p in evidence["parity"]] == ["batch=1", "batch=5", "batch=16"]
    assert evidence["inputs"] == "example"
    assert artifact.manifest.provenance["versions"]["torch"]


def test_nothing_is_written_over_unless_asked(tmp_path: Path, linear_task: Task) -> None:
    (tmp_path / "linear.onnx").write_bytes(b"mine")
    with pytest.raises(OutputExists, match="add --force"):
        edgedl.export(linear_task, ("onnx",), tmp_path)
    assert names(tmp_path) == ["linear.onnx"]
    assert (tmp_path / "linear.onnx").read_bytes() == b"mine"
    edgedl.export(linear_task, ("onnx",), tmp_path, force=True)
    assert len(names(tmp_path)) == 3


def with_evaluate(task: Task, evaluate: Any) -> Task:
    from dataclasses import replace

    return replace(task, evaluate=evaluate)


def test_the_score_is_a_gate_of_its_own(tmp_path: Path, linear_task: Task) -> None:
    calls = []

    def evaluate(predict: Predict) -> edgedl.Score:
        calls.append(predict(linear_task.example_inputs()))  # the reference is scored first
        return edgedl.Score("accuracy", 1.0 if len(calls) == 1 else 0.5)

    with pytest.raises(GateFailed, match=r"accuracy falls from 1 to 0\.5, over the budget of 0\.001"):
        edgedl.export(with_evaluate(linear_task, evaluate), ("onnx",), tmp_path / "strict")
    calls.clear()
    (artifact,) = edgedl.export(with_evaluate(linear_task, evaluate), ("onnx",), tmp_path / "lax", max_drop=0.6)
    assert artifact.manifest is not None
    assert artifact.manifest.evidence["score"]["drop"] == 0.5


def test_a_calibration_of_another_dtype_is_refused_before_anything_is_made(tmp_path: Path, linear_task: Task) -> None:
    from dataclasses import replace

    task = replace(linear_task, calibration=lambda: [{"x": np.zeros((2, 4))}])
    with pytest.raises(InvalidTensor, match=r"calibration inputs .*float64"):
        edgedl.export(task, ("onnx",), tmp_path / "out")
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


def test_quantize_says_what_it_needs(tmp_path: Path, linear_task: Task) -> None:
    (artifact,) = edgedl.export(linear_task, ("onnx",), tmp_path)
    with pytest.raises(InvalidInput, match=r"w8a8 needs calibration inputs: give --calibration inputs\.npz"):
        edgedl.quantize(artifact, "w8a8", task=linear_task)
    assert len(names(tmp_path)) == 3
    noisy = edgedl.quantize(artifact, "w8a8", task=linear_task, random_calibration=True, samples=32)
    assert noisy.manifest is not None
    assert noisy.manifest.provenance["calibration"] == "random noise"
    with pytest.raises(InvalidInput, match="is w8a8 already"):
        edgedl.quantize(noisy, "w8")

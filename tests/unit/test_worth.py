from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Artifact, QuantizationOptions, Task, worth
from edgedl.errors import GateFailed, Unsupported
from edgedl.exporter import Description, Exporter, Layer
from edgedl.measure import Measured, OperatorCost, Profile
from edgedl.measure.record import Failure, Round
from edgedl.measure.statistics import Estimate
from edgedl.quantization.slow_operators import write_paying
from edgedl.quantization.written import Written
from edgedl.worth import Worth, worth_of

SLOW, FAST, EVEN = Estimate(0.5, 0.4, 0.6), Estimate(2.0, 1.9, 2.1), Estimate(1.0, 0.9, 1.1)


def made(faster: Estimate | None, size: int = 10, **more: object) -> Worth:
    return Worth("q.onnx", "f.onnx", size, 100, faster, "engine 1", "local", **more)  # type: ignore[arg-type]


def test_slower_is_said_with_its_interval_and_what_eats_the_gain() -> None:
    found = made(SLOW, eaters=("QuantizeLinear +12 us", "Relu +3 us"))
    assert found.objections == (
        "q.onnx is 2.00x slower than f.onnx (95 % interval 1.67 to 2.50) in engine 1; "
        "what eats the gain: QuantizeLinear +12 us, Relu +3 us",
    )


@pytest.mark.parametrize("faster", [FAST, EVEN, Estimate(0.97, 0.94, 1.0), None])
def test_no_verdict_without_an_interval_that_excludes_one(faster: Estimate | None) -> None:
    assert made(faster, unknown="no engine").objections == ()


def test_not_smaller_is_said() -> None:
    assert made(FAST, 100).objections == ("q.onnx is not smaller than f.onnx: 100 bytes against 100",)
    assert len(made(SLOW, 101).objections) == 2


def test_sentences() -> None:
    assert made(FAST).sentence == "2.00x faster (95 % interval 1.90 to 2.10) and 10x smaller than f.onnx"
    assert made(EVEN).sentence.startswith("as fast (95 % interval 0.90x to 1.10x)")
    assert made(None, unknown="no engine").sentence.endswith("its speed is not known: no engine")


def timed(nanoseconds: int) -> Measured:
    rounds = tuple(Round.of(0, np.array([nanoseconds + n % 3]), 1e-6, 0) for n in range(12))
    return Measured("x", "x", "onnx", "auto", "cpu", 1, rounds=rounds)


def test_a_first_slower_must_be_confirmed(digits_onnx: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([(timed(2000), timed(1000)), (timed(1000), timed(1000))])
    monkeypatch.setattr(worth, "_measured", lambda *_: next(measured))
    found = worth_of(digits_onnx, digits_onnx)
    assert found.faster
    assert found.faster.low < 1 < found.faster.high
    assert next(measured, None) is None


def test_one_measurement_is_enough_where_it_is_not_slower(
    digits_onnx: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([(timed(500), timed(1000))])
    monkeypatch.setattr(worth, "_measured", lambda *_: next(measured))
    assert worth_of(digits_onnx, digits_onnx).faster.value == pytest.approx(2, rel=0.01)  # type: ignore[union-attr]


def test_an_engine_that_fails_is_no_verdict(digits_onnx: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Measured("x", "x", "onnx", "auto", "cpu", 1, failure=Failure("EngineFailed", "it crashed"))
    monkeypatch.setattr(worth, "_measured", lambda *_: (timed(1000), broken))
    found = worth_of(digits_onnx, digits_onnx)
    assert (found.faster, found.unknown) == (None, "it crashed")


def profiled(**kinds: float) -> Measured:
    costs = tuple(OperatorCost(f"{kind} {n}", kind, ns / 2, 0, 0, None) for kind, ns in kinds.items() for n in range(2))
    return replace(timed(1000), profile=Profile("counted", 1, 0.0, costs))


def test_what_eats_the_gain_is_what_took_less_before() -> None:
    now, before = profiled(Conv=1000.0, Quantize=3000.0, Relu=10.0), profiled(Conv=2000.0, Relu=5.0)
    assert worth._eaters(now, before) == ("Quantize +3 us",)
    assert worth._eaters(timed(5), before) == worth._eaters(now, timed(5)) == ()


class Wide(nn.Module):
    """Large enough that int8 pays in bytes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    rows = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    task = Task("wide", Wide, lambda: {"x": rows}, {"x": {0: "batch"}})
    return edgedl.export(task, ["onnx"], tmp_path_factory.mktemp("wide"))[0]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_slower_file_keeps_a_failed_name_unless_it_is_allowed(
    float_file: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr("edgedl.quantizing.speed_judge", lambda *_: lambda artifact: made(SLOW))

    def quantized() -> Artifact:
        return edgedl.quantize(float_file, "w8", tmp_path, allow_slower=allowed)

    if allowed:
        assert quantized().manifest.evidence["worth"]["objections"]  # type: ignore[union-attr]
        assert Artifact.open(tmp_path / "wide.w8.onnx").manifest.evidence["passed"]  # type: ignore[union-attr]
        return
    with pytest.raises(GateFailed, match=r"^q.onnx is 2.00x slower .* kept as wide.w8.onnx.failed"):
        quantized()
    assert not (tmp_path / "wide.w8.onnx").exists()
    manifest = json.loads((tmp_path / "wide.w8.onnx.failed.manifest.json").read_text())
    assert manifest["evidence"]["passed"] is False
    assert manifest["evidence"]["worth"]["faster"]["value"] == 0.5


def test_it_is_measured_for_real_and_unasked(
    float_file: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No claim on the outcome: that is the machine's."""
    monkeypatch.setattr("edgedl.quantizing.speed_judge", lambda parent, target: lambda a: worth_of(a, parent(), target))
    found = edgedl.quantize(float_file, "w8", tmp_path, allow_slower=True)
    assert found.manifest
    told = found.manifest.evidence["worth"]
    assert told["parent"] == "wide.onnx"
    assert told["parent_size"] > 3 * told["size"]
    assert 0 < told["faster"]["low"] < told["faster"]["high"]
    assert told["engine"].startswith("onnxruntime")


class Paying:
    """Stands for measurements: a file pays once these operators are in float."""

    def __init__(
        self, needed: set[str], eaters: tuple[str, ...] = ("HARD_SWISH +89.8 us", "QLinearConv +5 us")
    ) -> None:
        self.needed, self.eaters, self.written = needed, eaters, list[QuantizationOptions]()

    def write(self, options: QuantizationOptions, path: Path) -> Written:
        if len(options.keep_float) > 3:
            raise Unsupported("nothing is left")
        self.written.append(options)
        return Written(options)

    def judge(self, artifact: Artifact) -> Worth:
        pays = self.needed <= set(self.written[-1].keep_float)
        return made(FAST if pays else SLOW, eaters=() if pays else self.eaters)

    layers = staticmethod(
        lambda path: (
            Layer("first", "Conv", "a", 10, 1),
            Layer("wide", "Conv", "b", 80, 1),
            Layer("last", "Gemm", "c", 10, 1),
        )
    )
    describe = staticmethod(
        lambda path: Description((), (), {"Conv": 2, "Gemm": 1, "HARD_SWISH": 1, "Mul": 1}, 100, 1, {})
    )

    def carried_out(self) -> tuple[Written, Worth]:
        return write_paying(self.write, self.judge, cast(Exporter, self), Path("q.onnx"), QuantizationOptions())


def test_slow_operators_stay_in_float_where_the_file_pays_then() -> None:
    written, found = Paying({"HARD_SWISH"}).carried_out()
    assert written.options.keep_float == ("HARD_SWISH",)  # most weights are in Conv, which stays in integers
    assert not found.objections
    (region,) = written.in_float
    assert region.reason == "in integers the file is 2.00x slower than float: HARD_SWISH +89.8 us, QLinearConv +5 us"


def test_names_of_integer_operators_are_understood_and_the_first_layer_is_tried_last() -> None:
    written, _ = Paying({"first"}, ("QLinearMul +5 us", "QuantizeLinear +3 us")).carried_out()
    assert written.options.keep_float == ("Mul", "first")


def test_what_cannot_be_made_to_pay_is_written_as_it_was_asked_for() -> None:
    stand_in = Paying({"nothing helps"})
    written, found = stand_in.carried_out()
    assert written == Written(QuantizationOptions())
    assert stand_in.written[-1] == QuantizationOptions()
    assert found.objections


def test_types_of_operators_are_names_for_keep_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)
    net = nn.Sequential(nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 16))
    task = Task("net", lambda: net, lambda: {"x": rows}, calibration=lambda: [{"x": rows}])
    (source,) = edgedl.export(task, ["onnx"], tmp_path)
    with pytest.raises(Unsupported, match="every layer stays in float"):
        edgedl.quantize(source, "w8a8", task=task, options=QuantizationOptions(keep_float=("Gemm",)))
    artifact = edgedl.quantize(source, "w8a8", task=task, options=QuantizationOptions(keep_float=("Sigmoid",)))
    (sigmoid,) = (node for node in onnx.load(str(artifact.path)).graph.node if node.op_type == "Sigmoid")
    assert not any("Quantize" in name for name in sigmoid.output)
    assert {"Gemm", "DequantizeLinear"} <= {node.op_type for node in onnx.load(str(artifact.path)).graph.node}

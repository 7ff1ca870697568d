"""Predicted devices: what is computed, and what is refused."""

from __future__ import annotations

import importlib.resources
import json
import math
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl import predict, targets
from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput, UnknownName, Unsupported
from edgedl.measure import BenchmarkRecord, InputChoice, Plan, Subject
from edgedl.predict import prediction
from edgedl.predict.models import DeviceModel, Power, models
from edgedl.reference import TaskReference
from edgedl.report.figures import basis_sentences
from edgedl.report.footprint import energy_told
from edgedl.workload import Operation, Workload

MODEL = DeviceModel(
    "board", "A board", "Engine 1", "fp32", 4, "https://example.org/row", ("a", "b"),
    {"pointwise": 2e-9, "depthwise": 5e-9, "elements": 1e-9, "layers": 1e-5},
    {"pointwise": 0.95, "depthwise": 0.4}, (1e6, 1e8), 0.05, 0.15, (0.8, 1.3), Power(6.0, 0.05, "at the wall"),
)  # fmt: skip
CNN = Workload((Operation("depthwise", "Conv", 10**6, 1000), Operation("pointwise", "Conv", 9 * 10**6, 2000)), "fp32")


@pytest.fixture()
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "models_of", lambda device: [MODEL])


@pytest.mark.usefixtures("board")
def test_seconds_are_the_sum_of_the_parts() -> None:
    found = predict.predict(CNN, "board")
    assert found.seconds == pytest.approx(5e-3 + 18e-3 + 3e-6 + 2e-5)
    assert (found.low, found.high) == (pytest.approx(0.8 * found.seconds), pytest.approx(1.3 * found.seconds))
    assert found.model.basis == (
        "Engine 1 fp32, 4 threads on A board, fitted to 2 networks (a, b); off by 15% on unseen families (median); "
        "https://example.org/row"
    )


@pytest.mark.usefixtures("board")
def test_energy_is_active_power_times_latency() -> None:
    energy = predict.predict(CNN, "board").energy
    assert energy and energy.method == "modelled"
    assert energy.joules == pytest.approx(6.0 * 23.023e-3)
    assert energy.low == pytest.approx(energy.joules * math.exp(-math.hypot(math.log(0.8), math.log(1.05))))
    assert energy.high == pytest.approx(energy.joules * math.exp(math.hypot(math.log(1.3), math.log(1.05))))
    assert "6.00 W x latency, at the wall" in energy.source


@pytest.mark.parametrize("device", sorted({model.device for model in models() if model.power}))
def test_no_device_s_energy_can_be_below_zero(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in models():
        if model.device == device and model.power:
            monkeypatch.setattr(prediction, "models_of", lambda _, model=model: [model])
            work = replace(CNN, scheme={"fp32": "fp32", "int8": "w8a8"}[model.precision])
            monkeypatch.setattr(prediction, "_objections", lambda *_: iter(()))
            energy = predict.predict(work, device).energy
            assert energy
            assert 0 < energy.low < energy.joules < energy.high
            assert 0 < energy.per(1000).low < energy.per(1000).joules
            assert "[" in energy_told(energy)


def test_without_published_power_there_is_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "models_of", lambda device: [replace(MODEL, power=None)])
    assert predict.predict(CNN, "board").energy is None


def _with(*layers: Operation, scheme: str = "fp32") -> Workload:
    return Workload((*CNN.layers, *layers), scheme)


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("work", "threads", "reason"),
    [
        (_with(Operation("recurrent", "LSTM", 10, 1)), None, r"fitted to CNNs, this model has recurrent layers \(LSTM\): measure it"),
        (_with(Operation("attention", "MatMul", 10, 1)), None, "products of two computed tensors"),
        (_with(Operation("unknown", "Loop", 0, 0)), None, r"operators of unknown cost \(Loop\)"),
        (_with(scheme="w8a8"), None, "board was measured in fp32, this model is w8a8"),
        (_with(scheme="w8a8-dynamic"), None, "this model is w8a8-dynamic"),
        (CNN, 1, "measured with 4 threads, asked for 1"),
        (Workload((Operation("pointwise", "Gemm", 1000, 1),), "fp32"), None, "fitted on 1 to 100 million MACs, .* has 0.001"),
        (_with(Operation("pointwise", "Conv", 10**9, 1)), None, "the model has 1.01e"),
        (_with(Operation("convolution", "Conv", 10**7, 1)), None, "50% of its MACs are in convolution layers, at most 0%"),
        (_with(Operation("nonlinear", "HardSwish", 0, 999)), None, "33% of its elements are in nonlinear layers"),
        (Workload((), "fp32"), None, "the model has 0"),
    ],
)  # fmt: skip
def test_what_was_never_measured_is_refused(work: Workload, threads: int | None, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        predict.predict(work, "board", threads)


def test_the_next_engine_of_the_device_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(MODEL, macs=(1e3, 1e4), engine="Engine 0")
    monkeypatch.setattr(prediction, "models_of", lambda device: [small, MODEL])
    assert predict.predict(CNN, "board").model.engine == "Engine 1"


def test_an_engine_named_like_the_format_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "models_of", lambda device: [MODEL, replace(MODEL, engine="ncnn")])
    engines = {name: predict.predict(CNN, "board", format=name).model.engine for name in ("ncnn", "onnx", "")}
    assert engines == {"ncnn": "ncnn", "onnx": "Engine 1", "": "Engine 1"}


def test_an_unknown_device_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="raspberry-pi-4"):
        predict.predict(CNN, "rasberry-pi-4")


def test_the_package_carries_coefficients_and_no_table() -> None:
    text = (importlib.resources.files("edgedl") / "predict" / "devices.json").read_text()
    assert len(text) < 100_000 and "latency" not in json.dumps(list(json.loads(text)["models"][0]))
    assert len(predict.devices()) >= 12
    for model in models():
        assert model.source.startswith("https://") and len(model.networks) >= 4
        assert (model.within is None or model.within > 0) and 0 < model.unseen <= 0.25
        assert model.interval[0] <= 1 <= model.interval[1]
        assert min(model.coefficients.values()) > 0


def test_boards_with_watts_keep_their_promise() -> None:
    watts = [model for model in models() if model.power]
    assert {model.device for model in watts} >= {"raspberry-pi-4", "jetson-agx-xavier", "cortex-m4", "cortex-m33"}
    assert all(model.power and model.power.error <= 0.25 for model in watts)


@given(st.integers(1, 10**8), st.integers(0, 10**7))
def test_more_work_never_takes_less(macs: int, more: int) -> None:
    def seconds(count: int) -> float:
        layers = (Operation("pointwise", "Conv", count, 10), Operation("depthwise", "Conv", count // 10, 10))
        return prediction._predicted(MODEL, Workload(layers, "fp32")).seconds

    assert seconds(macs + more) >= seconds(macs)


def _artifact(folder: Path, size: int) -> Artifact:
    """A depthwise separable convolution over size x size places."""
    graph = f"""g (float[N, 64, {size}, {size}] x) => (float[N, 64, {size}, {size}] y)
        <float[64, 1, 3, 3] d = {{}}, float[64, 64, 1, 1] w = {{}}>
        {{ z = Conv <pads = [1, 1, 1, 1], group = 64> (x, d) y = Conv (z, w) }}"""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}')
    for tensor in model.graph.initializer:
        tensor.ClearField("float_data")
        tensor.raw_data = bytes(4 * math.prod(tensor.dims))
    onnx.save(model, str(folder / f"net{size}.onnx"))
    return Artifact(folder / f"net{size}.onnx")


def _record(device: str, *artifacts: Artifact) -> BenchmarkRecord:
    target = targets.find(f"predicted:{device}")
    subjects = [Subject(a.path.name, a, "ort") for a in artifacts]
    done: list[tuple[int, int]] = []
    record = target.measure(subjects, InputChoice(subjects), Plan(), lambda *step: done.append(step))
    assert done[-1] == (len(artifacts), len(artifacts))
    return BenchmarkRecord.from_json(record.to_json(), "record.json")


def test_the_target_gives_figures_and_refuses_each_by_itself(tmp_path: Path) -> None:
    record = _record("raspberry-pi-4", _artifact(tmp_path, 64), _artifact(tmp_path, 4))
    known, small = record.subjects
    assert [figure.name for figure in known.figures] == ["latency", "energy"]
    latency, joules = known.figures
    assert latency.low and latency.high and latency.low <= latency.value <= latency.high
    assert joules.unit == "J" and "mobilenet-v1" in (latency.basis or "")
    assert (known.target, known.rounds) == ("predicted:raspberry-pi-4", ())
    assert small.failure and "the model has 0.0748" in small.failure.message
    assert len(basis_sentences(record)) == 2


def test_a_device_without_watts_gives_latency_alone(tmp_path: Path) -> None:
    (subject,) = _record("raspberry-pi-3", _artifact(tmp_path, 160)).subjects
    assert [figure.name for figure in subject.figures] == ["latency"]


def test_a_board_by_clock_is_its_parent_slowed_down_with_a_wider_interval(tmp_path: Path) -> None:
    (parent,) = _record("raspberry-pi-3", _artifact(tmp_path, 160)).subjects
    (scaled,) = _record("raspberry-pi-zero-2", _artifact(tmp_path, 160)).subjects
    (before,), (after,) = parent.figures, scaled.figures
    assert after.value == pytest.approx(1.4 * before.value, rel=1e-3)
    assert before.low and before.high and after.low and after.high
    assert after.high / after.low > before.high / before.low
    assert "by clock from the Raspberry Pi 3 B+" in (after.basis or "")


def test_a_task_reference_is_no_file() -> None:
    target = targets.find("predicted:raspberry-pi-4")
    subjects = [Subject("zoo:digits", TaskReference("zoo:digits"), "torch")]
    record = target.measure(subjects, InputChoice(subjects), Plan(), lambda *_: None)
    assert "zoo:digits is no file" in str(record.subjects[0].failure)


@pytest.mark.parametrize("text", ["predicted", "predicted:", "predicted:pi-9"])
def test_a_target_without_a_known_device_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="raspberry-pi-4"):
        targets.find(text)


def test_nothing_can_be_verified_where_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="figures and no outputs"):
        targets.find("predicted:raspberry-pi-4").session(_artifact(tmp_path, 8))

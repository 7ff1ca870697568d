"""Predicted devices: what is computed, and what is refused."""

from __future__ import annotations

import importlib.resources
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl import predict
from edgedl.errors import UnknownName, Unsupported
from edgedl.predict import prediction
from edgedl.predict.models import DeviceModel, Power, models
from edgedl.workload import Layer, Workload

MODEL = DeviceModel(
    "board", "A board", "Engine 1", "fp32", 4, "https://example.org/row", ("a", "b"),
    {"pointwise": 2e-9, "depthwise": 5e-9, "elements": 1e-9, "layers": 1e-5},
    {"pointwise": 0.95, "depthwise": 0.4}, (1e6, 1e8), 0.05, 0.15, (0.8, 1.3), Power(6.0, 0.05, "at the wall"),
)  # fmt: skip
CNN = Workload((Layer("depthwise", "Conv", 10**6, 1000), Layer("pointwise", "Conv", 9 * 10**6, 2000)), "fp32")


@pytest.fixture()
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "models_of", lambda device: [MODEL])


@pytest.mark.usefixtures("board")
def test_seconds_are_the_sum_of_the_parts() -> None:
    found = predict.predict(CNN, "board")
    assert found.seconds == pytest.approx(5e-3 + 18e-3 + 3e-6 + 2e-5)
    assert (found.low, found.high) == (pytest.approx(0.8 * found.seconds), pytest.approx(1.3 * found.seconds))
    assert "A board, Engine 1, fp32, 4 threads: 23 ms (18.4 to 29.9); fitted on 2 networks" in str(found)


@pytest.mark.usefixtures("board")
def test_energy_is_active_power_times_latency() -> None:
    energy = predict.predict(CNN, "board").energy
    assert energy and energy.method == "modelled"
    assert energy.joules == pytest.approx(6.0 * 23.023e-3)
    assert energy.error == pytest.approx(energy.joules * math.hypot(0.3, 0.05))
    assert "6.00 W x latency, at the wall" in energy.source


def test_without_published_power_there_is_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "models_of", lambda device: [replace(MODEL, power=None)])
    assert predict.predict(CNN, "board").energy is None


def _with(*layers: Layer, scheme: str = "fp32") -> Workload:
    return Workload((*CNN.layers, *layers), scheme)


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("work", "threads", "reason"),
    [
        (_with(Layer("recurrent", "LSTM", 10, 1)), None, r"fitted on CNNs, the model has recurrent layers \(LSTM\)"),
        (_with(Layer("attention", "MatMul", 10, 1)), None, "products of two computed tensors"),
        (_with(Layer("unknown", "Loop", 0, 0)), None, r"operators of unknown cost \(Loop\)"),
        (_with(scheme="w8a8"), None, "measured in fp32, the model is w8a8"),
        (_with(scheme="w8a8-dynamic"), None, "measured in fp32, the model is w8a8-dynamic"),
        (CNN, 1, "measured with 4 threads, asked for 1"),
        (Workload((Layer("pointwise", "Gemm", 1000, 1),), "fp32"), None, "fitted on 1 to 100 million MACs, .* has 0.001"),
        (_with(Layer("pointwise", "Conv", 10**9, 1)), None, "the model has 1.01e"),
        (_with(Layer("convolution", "Conv", 10**7, 1)), None, "50% of its MACs are in convolution layers, at most 0%"),
        (_with(Layer("nonlinear", "HardSwish", 0, 999)), None, "33% of its elements are in nonlinear layers"),
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


def test_an_unknown_device_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="raspberry-pi-4"):
        predict.predict(CNN, "rasberry-pi-4")


def test_the_package_carries_coefficients_and_no_table() -> None:
    text = (importlib.resources.files("edgedl") / "predict" / "devices.json").read_text()
    assert len(text) < 100_000 and "latency" not in json.dumps(list(json.loads(text)["models"][0]))
    assert len(predict.devices()) >= 12
    for model in models():
        assert model.source.startswith("https://") and len(model.networks) >= 4
        assert model.within > 0 and 0 < model.unseen <= 0.25
        assert model.interval[0] <= 1 <= model.interval[1]
        assert min(model.coefficients.values()) > 0


def test_boards_with_watts_keep_their_promise() -> None:
    watts = [model for model in models() if model.power]
    assert {model.device for model in watts} >= {"raspberry-pi-4", "jetson-agx-xavier", "cortex-m4", "cortex-m33"}
    assert all(model.power and model.power.error <= 0.25 for model in watts)


@given(st.integers(1, 10**8), st.integers(0, 10**7))
def test_more_work_never_takes_less(macs: int, more: int) -> None:
    def seconds(count: int) -> float:
        layers = (Layer("pointwise", "Conv", count, 10), Layer("depthwise", "Conv", count // 10, 10))
        return prediction._predicted(MODEL, Workload(layers, "fp32")).seconds

    assert seconds(macs + more) >= seconds(macs)

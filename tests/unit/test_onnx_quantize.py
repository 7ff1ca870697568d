from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import Function, Residual, floats, program, written
from torch import nn

from edgedl import registry
from edgedl.errors import InvalidInput
from edgedl.exporter import DEFAULT_OPTIONS, Exporter
from edgedl.schemes import SCHEMES, scheme
from edgedl.verify.parity import relative_rms

Quantized = Callable[[Path, str], Path]


@pytest.fixture
def exporter() -> Exporter:
    return registry.exporter("onnx")


class Wide(nn.Module):
    """A convolution, a transposed one and a linear layer, each with enough weights to be worth storing narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU6(),
            nn.ConvTranspose2d(16, 12, 2),
            nn.Flatten(),
            nn.Linear(12 * 81, 10),
        )

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.layers(x)


def run(path: Path, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    written(path, program(Wide(), {"x": floats(1, 3, 8, 8)}, {"x": {0: "batch"}}))
    return path


def feeds() -> list[dict[str, np.ndarray]]:
    return [{"x": floats(8, 3, 8, 8, seed=seed)} for seed in range(4)]


@pytest.mark.parametrize(("name", "ratio"), [("fp16", 1.9), ("w8", 3.3), ("w8a8", 2.5)])
def test_size_error_and_interface(tmp_path: Path, exporter: Exporter, wide: Path, name: str, ratio: float) -> None:
    path = tmp_path / "q.onnx"
    exporter.quantize(wide, scheme(name), feeds, path)
    assert wide.stat().st_size / path.stat().st_size > ratio
    x = floats(5, 3, 8, 8, seed=9)
    assert relative_rms(run(path, x=x), run(wide, x=x)) < SCHEMES[name].tolerance.relative_rms
    before, after = exporter.describe(wide), exporter.describe(path)
    assert (before.inputs, before.outputs) == (after.inputs, after.outputs)
    assert [p.name for p in tmp_path.iterdir()] == ["q.onnx"]
    onnx.checker.check_model(str(path))


def test_weights_are_stored_narrow(tmp_path: Path, exporter: Exporter, wide: Path) -> None:
    stored = {}
    for name in ("fp16", "w8"):
        exporter.quantize(wide, scheme(name), None, tmp_path / f"{name}.onnx")
        stored[name] = exporter.describe(tmp_path / f"{name}.onnx").bytes_by_dtype
    weights = 16 * 27 + 16 * 12 * 4 + 12 * 81 * 10
    assert stored["fp16"]["float16"] == 2 * weights
    assert stored["w8"]["int8"] == weights


def test_w8_rounds_to_half_a_step_of_each_channel(tmp_path: Path, exporter: Exporter) -> None:
    module = nn.Linear(32, 8)
    path, narrow = tmp_path / "net.onnx", tmp_path / "w8.onnx"
    written(path, program(module, {"x": floats(1, 32)}))
    exporter.quantize(path, scheme("w8"), None, narrow)
    eye = np.eye(32, dtype=np.float32)
    written(path, program(module, {"x": eye}))
    exporter.quantize(path, scheme("w8"), None, narrow)
    weight = module.weight.detach().numpy()
    got = run(narrow, x=eye).T - module.bias.detach().numpy()[:, None]
    assert np.all(np.abs(got - weight) <= np.abs(weight).max(1, keepdims=True) / 254 * 1.01 + 1e-6)


def test_a_channel_of_zeros_and_huge_weights(tmp_path: Path, exporter: Exporter) -> None:
    module = nn.Linear(32, 8, bias=False)
    module.weight.data[0] = 0
    module.weight.data[1] = 1e5
    path, narrow = tmp_path / "net.onnx", tmp_path / "q.onnx"
    written(path, program(module, {"x": floats(2, 32)}))
    for name in ("w8", "fp16"):
        exporter.quantize(path, scheme(name), None, narrow)
        assert np.isfinite(run(narrow, x=floats(2, 32))).all()
        assert np.all(run(narrow, x=floats(2, 32))[:, 0] == 0)


def test_clip_is_folded_into_the_ranges(tmp_path: Path, exporter: Exporter) -> None:
    path, narrow = tmp_path / "net.onnx", tmp_path / "q.onnx"
    written(path, program(Residual(), {"image": floats(4, 3, 8, 8)}, {"image": {0: "batch"}}))
    exporter.quantize(path, scheme("w8a8"), lambda: [{"image": floats(8, 3, 8, 8, seed=1)}], narrow)
    assert not exporter.describe(narrow).operators.keys() & {"Clip", "Relu"}


def test_a_transformers_products_are_left_in_float(tmp_path: Path, exporter: Exporter) -> None:
    """Its normalisation and sums read them in float: rounding them costs ONNX Runtime a quarter of the time, and digits.

    So do the products of query, key, value and softmax: only the inputs of the four layers with weights are rounded.
    """
    source, path = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    written(source, program(layer, {"x": floats(1, 6, 32)}, {}))
    exporter.quantize(source, SCHEMES["w8a8"], lambda: [{"x": floats(1, 6, 32)}], path, DEFAULT_OPTIONS)
    model = onnx.load(path)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    rounded = [made_by.get(node.input[0]) for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounded) == 4
    assert not {"MatMul", "Gemm", "Softmax"} & set(rounded)


def test_static_needs_calibration(tmp_path: Path, exporter: Exporter, wide: Path) -> None:
    with pytest.raises(InvalidInput, match="needs calibration"):
        exporter.quantize(wide, scheme("w8a8"), None, tmp_path / "q.onnx")


def test_objection_to_dynamic_convolutions(exporter: Exporter, wide: Path) -> None:
    said = exporter.objection(wide, scheme("w8a8-dynamic"))
    assert said is not None
    assert "do 100% of the work" in said or "where ONNX Runtime is faster" in said
    assert exporter.objection(wide, scheme("w8a8")) is None


def test_objection_where_there_is_nothing_to_quantize(tmp_path: Path, exporter: Exporter) -> None:
    path = tmp_path / "net.onnx"
    written(path, program(Function(lambda m, x: x * 2), {"x": floats(2, 4)}))
    assert "no float weights" in (exporter.objection(path, scheme("w8")) or "")


def test_dynamic_on_a_linear_network(tmp_path: Path, exporter: Exporter) -> None:
    path, narrow = tmp_path / "net.onnx", tmp_path / "q.onnx"
    module = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 16))
    written(path, program(module, {"x": floats(1, 64)}, {"x": {0: "batch"}}))
    assert exporter.objection(path, scheme("w8a8-dynamic")) is None
    exporter.quantize(path, scheme("w8a8-dynamic"), None, narrow)
    x = floats(7, 64, seed=3)
    assert relative_rms(run(narrow, x=x), run(path, x=x)) < 0.05
    assert path.stat().st_size / narrow.stat().st_size > 3


@pytest.mark.parametrize(("outlier", "scales"), [(1.0, 2), (40.0, 2 * 4 * 16)])
def test_an_lstm_has_one_scale_for_each_direction_where_that_rounds_little(
    tmp_path: Path, exporter: Exporter, outlier: float, scales: int
) -> None:
    module = nn.Sequential(nn.LSTM(8, 16, batch_first=True, bidirectional=True))
    module[0].weight_ih_l0.data[3] *= outlier
    path, narrow = tmp_path / "net.onnx", tmp_path / "q.onnx"
    written(path, program(Function(lambda m, x: module(x)[0]), {"x": floats(2, 6, 8)}, {"x": {0: "batch"}}))
    exporter.quantize(path, scheme("w8a8-dynamic"), None, narrow)
    graph = onnx.load(str(narrow)).graph
    (node,) = (node for node in graph.node if node.op_type == "DynamicQuantizeLSTM")
    assert [np.prod(t.dims) for t in graph.initializer if t.name == node.input[8]] == [scales]
    x = floats(3, 6, 8, seed=3)
    assert relative_rms(run(narrow, x=x), run(path, x=x)) < 0.05

"""What a file has to compute, counted alike in both formats and by the layers' own formulas."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import pytest
import tflite_models

import edgedl_onnx
import edgedl_tflite
from edgedl.errors import InvalidArtifact
from edgedl.workload import KINDS, Workload, convolution_kind, matrix_kind

RESIDUAL = """
    g (float[N, 3, 6, 6] x, float[8, 3, 3, 3] a, float[8, 1, 3, 3] b, float[8, 8, 1, 1] c, float[4, 8] d) => (float[N, 4] y)
    <float[8, 3, 3, 3] a = {}, float[8, 1, 3, 3] b = {}, float[8, 8, 1, 1] c = {}, float[4, 8] d = {}>
    {
        p = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, a)
        q = Relu (p)
        r = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8> (q, b)
        s = Conv <kernel_shape = [1, 1]> (r, c)
        t = HardSwish (s)
        u = GlobalAveragePool (t)
        v = Flatten (u)
        y = Gemm <transB = 1> (v, d)
    }
"""
CNN = """
    g (float[N, 3, 8, 8] x, float[16, 3, 3, 3] a, float[16, 1, 3, 3] b, float[16, 16, 1, 1] c, float[10, 256] d) => (float[N, 10] y)
    <float[16, 3, 3, 3] a = {}, float[16, 1, 3, 3] b = {}, float[16, 16, 1, 1] c = {}, float[10, 256] d = {}>
    {
        p = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x, a)
        r = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 16> (p, b)
        s = Conv <kernel_shape = [1, 1]> (r, c)
        v = Flatten (s)
        y = Gemm <transB = 1> (v, d)
    }
"""


def _onnx(folder: Path, graph: str) -> Workload:
    """A graph in ONNX's own text; its weights are zeros."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}')
    for tensor in model.graph.initializer:
        tensor.ClearField("float_data")
        tensor.raw_data = bytes(
            math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        )
    onnx.save(model, str(folder / "net.onnx"))
    return edgedl_onnx.exporter.workload(folder / "net.onnx")


def test_layers_of_a_residual_network(tmp_path: Path) -> None:
    work = _onnx(tmp_path, RESIDUAL)
    assert [(layer.kind, layer.macs, layer.elements) for layer in work.layers] == [
        ("convolution_3x3", 8 * 36 * 27, (3 + 8) * 36),
        ("depthwise", 8 * 36 * 9, 16 * 36),
        ("pointwise", 8 * 36 * 8, 16 * 36),
        ("nonlinear", 0, 8 * 36),
        ("dense", 8 * 4, 12),
    ]
    assert (work.scheme, work.macs) == ("fp32", edgedl_onnx.exporter.describe(tmp_path / "net.onnx").macs)


def test_both_formats_count_alike(tmp_path: Path) -> None:
    """But for the padding, which TFLite's file does in an operator of its own: 10x10 instead of 8x8 values are read."""
    tflite = dict(edgedl_tflite.exporter.workload(tflite_models.exported("cnn", dynamic=True)).features())
    network = dict(_onnx(tmp_path, CNN).features())
    assert tflite.pop("elements") - network.pop("elements") == 3 * (100 - 64)
    assert network == tflite


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-dynamic"])
def test_tflite_tells_its_scheme(scheme: str) -> None:
    assert edgedl_tflite.exporter.workload(tflite_models.quantized("cnn", scheme)).scheme == scheme


@pytest.mark.parametrize(
    ("graph", "scheme"),
    [
        ("g (float[1, 4] x, float16[4, 4] w) => (float[1, 4] y) <float16[4, 4] w = {}> { f = Cast <to = 1> (w) y = MatMul (x, f) }", "fp16"),
        ("g (float[1, 4] x, int8[4, 4] w) => (float[1, 4] y) <int8[4, 4] w = {}> { f = Cast <to = 1> (w) y = MatMul (x, f) }", "w8"),
        ("g (float[1, 4] x, float s, uint8 z, float[4, 4] w) => (float[1, 4] y) <float s = {1}, uint8 z = {0}, float[4, 4] w = {}> "
         "{ q = QuantizeLinear (x, s, z) f = DequantizeLinear (q, s, z) y = MatMul (f, w) }", "w8a8"),
        ("g (float[1, 4] x, uint8[4, 4] w) => (float[1, 4] y) <uint8[4, 4] w = {}> "
         "{ q, s, z = DynamicQuantizeLinear (x) i = MatMulInteger (q, w) f = Cast <to = 1> (i) y = Mul (f, s) }", "w8a8-dynamic"),
    ],
)  # fmt: skip
def test_onnx_tells_its_scheme(tmp_path: Path, graph: str, scheme: str) -> None:
    work = _onnx(tmp_path, graph)
    assert (work.scheme, [layer.kind for layer in work.layers]) == (scheme, ["dense"])


def test_recurrent_layers_and_attention_are_told(tmp_path: Path) -> None:
    lstm = """g (float[5, 1, 4] x, float[1, 32, 4] w, float[1, 32, 8] r) => (float[5, 1, 1, 8] y)
        <float[1, 32, 4] w = {}, float[1, 32, 8] r = {}> { y = LSTM <hidden_size = 8> (x, w, r) }"""
    assert [(layer.kind, layer.macs) for layer in _onnx(tmp_path, lstm).layers] == [
        ("recurrent", 5 * (32 * 4 + 32 * 8))
    ]
    product = """g (float[2, 5, 4] a, float[2, 4, 5] b, float[4, 4] w) => (float[2, 5, 5] y) <float[4, 4] w = {}>
        { t = MatMul (a, w) u = MatMul (t, b) y = Sigmoid (u) }"""
    assert [layer.kind for layer in _onnx(tmp_path, product).layers] == ["pointwise", "attention", "nonlinear"]


def test_attention_in_tflite_is_told() -> None:
    kinds = {layer.kind for layer in edgedl_tflite.exporter.workload(tflite_models.exported("encoder")).layers}
    assert {"attention", "pointwise"} <= kinds


def test_an_operator_with_a_graph_inside_is_unknown(tmp_path: Path) -> None:
    graph = "g (bool c) => (float[1] y) { y = If (c) <then_branch = t () => (float[1] a) { a = Constant <value_floats = [1.0]> () }, "
    graph += "else_branch = e () => (float[1] b) { b = Constant <value_floats = [2.0]> () }> }"
    assert [layer.kind for layer in _onnx(tmp_path, graph).layers] == ["unknown"]


def test_a_shape_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match="its work is not known"):
        _onnx(tmp_path, "g (float[] x, float[] w) => (float[] y) { t = Conv (x, w) y = Relu (t) }")


@pytest.mark.parametrize(
    ("kernel", "strides", "groups", "positions", "kind"),
    [
        ((3, 3), (1, 1), 1, 49, "convolution_3x3"),
        ((3, 3), (2, 2), 1, 49, "convolution"),
        ((5,), (1,), 1, 49, "convolution"),
        ((1, 1), (2, 2), 1, 49, "pointwise"),
        ((3, 3), (1, 1), 8, 49, "depthwise"),
        ((3, 3), (1, 1), 4, 49, "grouped"),
        ((1, 1), (1, 1), 1, 1, "dense"),
    ],
)
def test_kinds_of_convolutions(
    kernel: tuple[int, ...], strides: tuple[int, ...], groups: int, positions: int, kind: str
) -> None:
    assert convolution_kind(kernel, strides, groups, 8, positions) == kind
    assert kind in KINDS


def test_the_values_that_winograd_transforms_are_told_apart(tmp_path: Path) -> None:
    features = _onnx(tmp_path, RESIDUAL).features()
    assert (features["elements_3x3"], features["elements"]) == ((3 + 8) * 36, (3 + 8) * 36 + 32 * 36 + 12)


def test_kinds_of_matrix_products() -> None:
    assert [matrix_kind(True, 1), matrix_kind(True, 7), matrix_kind(False, 1)] == ["dense", "pointwise", "attention"]

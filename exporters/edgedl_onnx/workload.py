"""What an ONNX file has to compute, layer by layer."""

from __future__ import annotations

import math
from pathlib import Path

import onnx

from edgedl.errors import InvalidArtifact
from edgedl.workload import Operation, Workload, convolution_kind, matrix_kind
from edgedl_onnx.describe import Shapes, macs_of, shapes_of
from edgedl_onnx.graph import read

_FILTERS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""convolution -> position of its filter"""
_PRODUCTS = {
    "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1,
}  # fmt: skip
"""matrix product -> position of its right side"""
_RECURRENT = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
_NONLINEAR = {
    "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "Erf", "Elu", "Softplus", "Mish", "LayerNormalization", "Swish",
}  # fmt: skip
_OPAQUE = {"Loop", "If", "Scan", "ConvTranspose"}
_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"}
_STATIC = {"QuantizeLinear", "QLinearConv", "QLinearMatMul"}


def workload(path: Path) -> Workload:
    """InvalidArtifact if the file is not ONNX, or a shape in it is not known."""
    model = read(path)
    try:
        shapes, constants = shapes_of(model), _constants(model.graph)
        layers = [layer for node in model.graph.node if (layer := _layer(node, shapes, constants))]
    except (ValueError, KeyError, IndexError, onnx.shape_inference.InferenceError) as error:
        raise InvalidArtifact(f"{path} has shapes that cannot be inferred ({error}): its work is not known") from error
    return Workload(tuple(layers), _scheme(model))


def _layer(node: onnx.NodeProto, shapes: Shapes, constants: set[str]) -> Operation | None:
    name = node.op_type
    if name in _NONLINEAR:
        return Operation("nonlinear", name, 0, math.prod(shapes[node.output[0]]))
    if name in _OPAQUE:
        return Operation("unknown", name, 0, 0)
    kind = _kind(node, shapes, constants)
    return Operation(kind, name, macs_of(node, shapes) or 0, _elements(node, shapes)) if kind else None


def _kind(node: onnx.NodeProto, shapes: Shapes, constants: set[str]) -> str | None:
    if node.op_type in _FILTERS:
        filters = shapes[node.input[_FILTERS[node.op_type]]]
        return _convolution(node, filters, shapes[node.input[0]][1], shapes[node.output[0]])
    if node.op_type in _PRODUCTS:
        sides = {node.input[0], node.input[_PRODUCTS[node.op_type]]}
        return matrix_kind(bool(sides & constants), math.prod(shapes[node.output[0]][:-1]))
    return "recurrent" if node.op_type in _RECURRENT else None


def _convolution(node: onnx.NodeProto, filters: tuple[int, ...], channels: int, output: tuple[int, ...]) -> str:
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    strides = tuple(attributes.get("strides", ()))
    return convolution_kind(filters[2:], strides, attributes.get("group", 1), channels, math.prod(output[2:]))


def _elements(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.input[0]]) + math.prod(shapes[node.output[0]])


def _constants(graph: onnx.GraphProto) -> set[str]:
    """What does not depend on the inputs: initializers, and what is computed from them alone."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" or (node.input and all(name in found for name in node.input if name)):
            found.update(node.output)
    return found


def _scheme(model: onnx.ModelProto) -> str:
    operators = {node.op_type for node in model.graph.node}
    if operators & _DYNAMIC:
        return "w8a8-dynamic"
    if operators & _STATIC:
        return "w8a8"
    stored = {tensor.data_type for tensor in model.graph.initializer}
    if stored & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}:
        return "w8"
    return "fp16" if onnx.TensorProto.FLOAT16 in stored else "fp32"

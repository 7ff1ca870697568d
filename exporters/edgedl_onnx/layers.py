"""The layers of an ONNX file that can be quantized each by itself, under names that survive the quantization."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from edgedl.exporter import Layer
from edgedl.islands import beside
from edgedl_onnx.canonical import inner_nodes, nodes
from edgedl_onnx.describe import Shapes, macs_of, shapes_of
from edgedl_onnx.graph import WEIGHTED, read

_ADDED = re.compile(r"(/MatMulAddFusion)?(_MatMul)?(_quant|_Q4)?(_int8_\d+(_r)?_i)?$")
"""What onnxruntime's tools, and the rewriting of a GRU, add to the name of a node that they rewrite."""
_OF_GRU = re.compile(r"_int8_\d+(_r)?_i$")
_INTEGER = {"MatMulInteger": "MatMul", "DynamicQuantizeLSTM": "LSTM", "MatMulNBits": "MatMul"}
_BIAS = {"Conv": (2,), "ConvTranspose": (2,), "Gemm": (2,), "LSTM": (3,), "GRU": (3,), "RNN": (3,)}
_STORED = tuple(
    getattr(onnx.TensorProto, name)
    for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT4", "UINT4", "INT16", "UINT16", "INT32")
)
_WIDENING = ("DequantizeLinear", "Cast", "Mul", "Transpose")


def layers(source: Path) -> tuple[Layer, ...]:
    """InvalidArtifact if the file is not ONNX."""
    model = read(source)
    shapes = shapes_of(model)
    parts: dict[str, list[Layer]] = {}
    for layer in (*(_layer(model, node, shapes) for node in layer_nodes(model)), *_in_loops(model, shapes)):
        parts.setdefault(layer.name, []).append(layer)
    return tuple(map(_joined, parts.values()))


def _in_loops(model: onnx.ModelProto, shapes: Shapes) -> Iterator[Layer]:
    """The products with the state of each GRU that edgedl_onnx.gru has rewritten."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for loop in (node for node in model.graph.node if node.op_type == "Scan"):
        (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
        rows = math.prod(shapes[loop.input[-1]][:2]) if loop.input[-1] in shapes else None
        for node in body.node:
            if node.op_type == "MatMulInteger" and _OF_GRU.search(node.output[0]) and node.input[1] in constants:
                weights = math.prod(constants[node.input[1]].dims)
                parameters = weights + _bias_of_gru(node, constants)
                yield Layer(layer_name(node), "GRU", node.output[0], parameters, rows and rows * weights)


def _bias_of_gru(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> int:
    """Elements of the bias that is added to a product of an int8 GRU."""
    bias = constants.get(f"{node.output[0].removesuffix('_i')}_bias") if _OF_GRU.search(node.output[0]) else None
    return math.prod(bias.dims) if bias is not None else 0


def _joined(parts: list[Layer]) -> Layer:
    """One layer of the products that have its name: a GRU's with its inputs and with its state, of both directions."""
    if len(parts) == 1:
        return parts[0]
    macs = [part.macs for part in parts if part.macs is not None]
    total = sum(macs) if len(macs) == len(parts) else None
    return replace(parts[0], operator=parts[-1].operator, parameters=sum(part.parameters for part in parts), macs=total)


def layer_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes with weights, in branches and loop bodies too, and the products of two activations in the main graph."""
    for node in model.graph.node:
        if _INTEGER.get(node.op_type, node.op_type) == "MatMul" or _has_weights(model, node):
            yield node
    for node in inner_nodes(model):
        if _has_weights(model, node) and not _OF_GRU.search(node.output[0]):
            yield node


def _has_weights(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    kind = _INTEGER.get(node.op_type, node.op_type)
    return kind in WEIGHTED and any(len(tensor.dims) > 1 for tensor in _stored(model, node))


def layer_name(node: onnx.NodeProto) -> str:
    return _ADDED.sub("", node.name or node.output[0])


def nodes_called(model: onnx.ModelProto, names: tuple[str, ...]) -> list[str]:
    """The node names of layers; `names` may be those of the file that this one was made from."""
    return [node.name for node in layer_nodes(model) if layer_name(node) in names]


def island(model: onnx.ModelProto, kept: tuple[str, ...]) -> list[str]:
    """The node names of these layers, of the operators without weights that belong to them, and of operators of these types."""
    names = {node.output[0]: layer_name(node) for node in layer_nodes(model)}
    steps = [(names.get(node.output[0]), node.input, node.output) for node in model.graph.node]
    of_type = (n.name for n in model.graph.node if n.op_type in kept and n.output[0] not in names)
    return [*nodes_called(model, kept), *(model.graph.node[number].name for number in beside(steps, kept)), *of_type]


def _layer(model: onnx.ModelProto, node: onnx.NodeProto, shapes: Shapes) -> Layer:
    kind = _INTEGER.get(node.op_type, node.op_type)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    parameters = sum(math.prod(tensor.dims) for tensor in _stored(model, node)) + _bias_of_gru(node, constants)
    return Layer(layer_name(node), kind, node.output[0], parameters, macs_of(node, shapes))


def _stored(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.TensorProto]:
    """The initializers that the node's weights and bias come from."""
    kind = _INTEGER.get(node.op_type, node.op_type)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: maker for maker in nodes(model) for name in maker.output}
    found = []
    for position in (*WEIGHTED[kind], *_BIAS.get(kind, ())):
        name = node.input[position] if position < len(node.input) else ""
        while name not in constants and name in makers and makers[name].op_type in _WIDENING:
            name = makers[name].input[0]
        if name in constants and constants[name].data_type in _STORED:
            found.append(constants[name])
    return found

"""The products of uint8 activations with int8 weights in an ONNX file.

MLAS packs the inputs of a product in their order, those of a convolution by kernel position and then by channel. Depthwise
convolutions have kernels of their own; int8 x int8 and uint8 x uint8 are other products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edgedl.spec import Array
from edgedl_onnx.graph import to_array
from edgedl_onnx.layers import layer_name
from edgedl_onnx.windows import Windows, drawn

_FLOAT = {
    "QLinearConv": "Conv", "ConvInteger": "Conv", "QLinearMatMul": "MatMul", "MatMulInteger": "MatMul",
    "DynamicQuantizeLSTM": "LSTM",
}  # fmt: skip
"""integer operators, and the float one that each carries out"""
Rows = Callable[[Array, int], list[Array]]
"""(activations, zero point) -> a matrix [rows, inputs] for each group of the layer"""


@dataclass(frozen=True)
class Source:
    """name: a tensor, of floats or of uint8 already. scale, zero: what it is quantized by; scale None: by its range in each run."""

    name: str
    scale: float | None
    zero: int = 0

    def quantized(self, values: Array) -> tuple[Array, int]:
        """uint8 and its zero point, as QuantizeLinear and DynamicQuantizeLinear make them."""
        if values.dtype == np.uint8:
            return values, self.zero
        scale, zero = self.scale, self.zero
        if scale is None:
            low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
            scale = (high - low) / 255 or 1.0
            zero = int(np.clip(np.rint(-low / scale), 0, 255))
        return np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.uint8), zero


@dataclass(frozen=True)
class Product:
    """weights: int8 [inputs, outputs] of each group. source: None where its values cannot be had."""

    layer: str
    operator: str
    weights: tuple[Array, ...]
    source: Source | None
    rows: Rows


def products(model: onnx.ModelProto) -> Iterator[Product]:
    """In the order of computation; those of a loop's body without a source."""
    return _in_graph(model.graph, {})


def _in_graph(graph: onnx.GraphProto, outer: Mapping[str, Array]) -> Iterator[Product]:
    inside = _Graph(graph, outer)
    for node in graph.node:
        if node.op_type in _FOUND:
            yield from _FOUND[node.op_type](inside, node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from (replace(found, source=None) for found in _in_graph(attribute.g, inside.constants))


class _Graph:
    """The constants of a graph, what makes each tensor, and what reads it."""

    def __init__(self, graph: onnx.GraphProto, outer: Mapping[str, Array]) -> None:
        self.constants = {**outer, **{tensor.name: to_array(tensor) for tensor in graph.initializer}}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def weight(self, name: str) -> Array | None:
        """The int8 constant, or the one that is widened to this tensor."""
        widening = self._made_by(name, "DequantizeLinear")
        array = self.constants.get(widening.input[0] if widening else name)
        return array if array is not None and array.dtype == np.int8 and array.ndim > 1 else None

    def widened(self, name: str) -> Source | None:
        """Of a tensor that a DequantizeLinear makes of uint8 with one scale."""
        widening = self._made_by(name, "DequantizeLinear")
        scale = self.constants.get(widening.input[1]) if widening else None
        zero = self._zero(widening, 2) if widening else None
        if widening is None or scale is None or scale.size > 1 or zero is None:
            return None
        maker = self._made_by(widening.input[0], "QuantizeLinear")
        return Source(maker.input[0] if maker else widening.input[0], float(scale.reshape(())), zero)

    def integers(self, node: onnx.NodeProto, zero_at: int) -> Source | None:
        """Of the first input of an integer operator."""
        if maker := self._made_by(node.input[0], "DynamicQuantizeLinear"):
            return Source(maker.input[0], None)
        zero = self._zero(node, zero_at)
        return None if zero is None else Source(node.input[0], 1.0, zero)

    def becomes_integer(self, name: str) -> bool:
        """It is quantized, at once or behind an activation function that the kernel carries out."""
        return any(
            reader.op_type == "QuantizeLinear"
            or (reader.op_type in ("Relu", "Clip") and self.becomes_integer(reader.output[0]))
            for reader in self.readers.get(name, [])
        )

    def _made_by(self, name: str, kind: str) -> onnx.NodeProto | None:
        maker = self.makers.get(name)
        return maker if maker is not None and maker.op_type == kind else None

    def _zero(self, node: onnx.NodeProto, position: int) -> int | None:
        """The zero point, 0 where none is given; None where it is computed, or not of uint8."""
        if len(node.input) <= position or not node.input[position]:
            return 0
        zero = self.constants.get(node.input[position])
        return int(zero.reshape(-1)[0]) if zero is not None and zero.dtype == np.uint8 else None


Finder = Callable[[_Graph, onnx.NodeProto], Iterator[Product]]


def _matrix(weight_at: int, zero_at: int | None) -> Finder:
    """activations [..., inputs] x weights [inputs, outputs]; Gemm may have them transposed."""

    def found(graph: _Graph, node: onnx.NodeProto) -> Iterator[Product]:
        weight, source = graph.weight(node.input[weight_at]), _source(graph, node, zero_at)
        if weight is not None and weight.ndim == 2 and source is not None:
            matrix = weight.T if _number(node, "transB", 0) else weight
            yield Product(layer_name(node), _operator(node), (matrix,), source, _last_axis)

    return found


def _convolution(weight_at: int, zero_at: int | None) -> Finder:
    def found(graph: _Graph, node: onnx.NodeProto) -> Iterator[Product]:
        weight, source = graph.weight(node.input[weight_at]), _source(graph, node, zero_at)
        groups = _number(node, "group", 1)
        in_float = node.op_type == "Conv" and not graph.becomes_integer(node.output[0])
        if weight is None or source is None or in_float or weight.shape[:2] == (groups, 1) != (1, 1):
            return
        parts = [np.moveaxis(part, (0, 1), (-1, -2)) for part in np.split(weight, groups)]
        matrices = tuple(np.ascontiguousarray(part.reshape(-1, part.shape[-1])) for part in parts)
        yield Product(layer_name(node), _operator(node), matrices, source, Windows.of(node, weight.shape[2:], groups))

    return found


def _lstm(graph: _Graph, node: onnx.NodeProto) -> Iterator[Product]:
    """DynamicQuantizeLSTM: the input times W, and the state before each step times R; weights [directions, inputs, outputs]."""
    states = node.output[0] if node.output else ""
    for weight, name in zip(map(graph.weight, node.input[1:3]), (node.input[0], states), strict=True):
        for direction, matrix in enumerate(weight if weight is not None else ()):
            rows = _OneDirection(direction) if name == states else _last_axis
            yield Product(layer_name(node), _operator(node), (matrix,), Source(name, None) if name else None, rows)


def _last_axis(activations: Array, zero: int) -> list[Array]:
    rows = activations.reshape(-1, activations.shape[-1])
    return [rows[drawn(len(rows))]]


@dataclass(frozen=True)
class _OneDirection:
    """Of states [time, directions, batch, hidden], all in one range; the kernel takes one for each step."""

    direction: int

    def __call__(self, activations: Array, zero: int) -> list[Array]:
        return _last_axis(activations[:, self.direction], zero)


def _source(graph: _Graph, node: onnx.NodeProto, zero_at: int | None) -> Source | None:
    return graph.widened(node.input[0]) if zero_at is None else graph.integers(node, zero_at)


def _operator(node: onnx.NodeProto) -> str:
    kind = str(node.op_type)
    return _FLOAT.get(kind, kind)


def _number(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


_FOUND: dict[str, Finder] = {
    "Conv": _convolution(1, None), "QLinearConv": _convolution(3, 2), "ConvInteger": _convolution(1, 2),
    "Gemm": _matrix(1, None), "MatMul": _matrix(1, None), "QLinearMatMul": _matrix(3, 2),
    "MatMulInteger": _matrix(1, 2), "DynamicQuantizeLSTM": _lstm,
}  # fmt: skip

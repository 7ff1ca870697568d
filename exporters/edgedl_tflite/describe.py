"""What is in a .tflite file, read from the flatbuffer alone: no engine opens it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import InvalidArtifact
from edgedl.exporter import Description
from edgedl.ledger import ledger
from edgedl.spec import Quantization, TensorSpec
from edgedl_tflite import flatbuffer, loops, names
from edgedl_tflite.check import read_checked

DYNAMIC = "dynamic"
"""The name of every dynamic axis: TFLite keeps no axis names."""
_CODE = schema.BuiltinOperator
_BITS = {"int4": 4, "uint4": 4, "int2": 2}


def describe(path: Path) -> Description:
    """Operators, parameters, MACs, bytes and the inputs and outputs; InvalidArtifact if it is no TFLite model."""
    model = read_checked(path)
    try:
        inputs, outputs = specs(model)
        weights = list(weight_tensors(model))
        return Description(
            inputs,
            outputs,
            operators(model),
            sum(_elements(t, d) for t, d in weights),
            macs(model),
            _bytes_by_dtype(weights),
            ledger=ledger(_constants(model)),
        )
    except InvalidArtifact:
        raise
    except Exception as error:  # the file is consistent in its links and still impossible in its contents
        raise InvalidArtifact(f"{path} is a broken TFLite model ({error}): export it again") from error


def specs(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """(inputs, outputs) in the file's order, by the signature's names."""
    graph = model.subgraphs[0]
    indices = [flatbuffer.numbers(graph.inputs), flatbuffer.numbers(graph.outputs)]
    sides = [
        tuple(_spec(graph.tensors[index], name) for index, name in zip(side, side_names, strict=True))
        for side, side_names in zip(indices, names.names_of(model), strict=True)
    ]
    return _over_signatures(model, sides[0], "inputs"), _over_signatures(model, sides[1], "outputs")


def _over_signatures(model: Any, specs: tuple[TensorSpec, ...], side: str) -> tuple[TensorSpec, ...]:
    """The lengths in which the signatures differ are dynamic; a session takes those of one signature at a time."""
    for signature in (model.signatureDefs or [])[1:]:
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        shapes = {
            flatbuffer.text(e.name): flatbuffer.shape_of(tensors[e.tensorIndex]) for e in getattr(signature, side)
        }
        specs = tuple(replace(spec, shape=tuple(map(_common, spec.shape, shapes[spec.name]))) for spec in specs)
    return specs


def _common(length: int | str, other: int) -> int | str:
    return length if length == other else DYNAMIC


def operators(model: Any) -> dict[str, int]:
    """Count by builtin name, or by custom code."""
    return dict(Counter(flatbuffer.operator_name(model, operator) for _, operator in _operators(model)))


def weight_tensors(model: Any) -> Iterator[tuple[Any, Any]]:
    """(tensor, data) of the constants that are weights: not the shapes, axes and paddings, which are small int32 or int64."""
    seen: set[int] = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors or []:
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data) or tensor.buffer in seen or _is_shape(tensor):
                continue
            seen.add(tensor.buffer)
            yield tensor, data


def macs(model: Any) -> int | None:
    """Multiply-accumulates at the written shapes; None if an operator with weights is of an unknown kind."""
    inside = {index for _, operator in _operators(model) for index in loop_graphs(model, operator)}
    outside = [graph for index, graph in enumerate(model.subgraphs) if index not in inside]
    return _added(_graph_macs(model, graph) for graph in outside)


def _graph_macs(model: Any, graph: Any) -> int | None:
    return _added(operator_macs(model, graph, operator) for operator in graph.operators or [])


def operator_macs(model: Any, graph: Any, operator: Any) -> int | None:
    """Of one operator at the written shapes; None if it has weights and is of an unknown kind."""
    """Multiply-accumulates of one operator; 0 where it multiplies no matrices."""
    code = flatbuffer.code_of(model, operator)
    if (cost := _COSTS.get(code)) is not None:
        return cost(graph, operator)
    if loop_graphs(model, operator):
        return loop_macs(model, graph, operator)
    if code == _CODE.WHILE:
        return None if _graph_macs(model, model.subgraphs[operator.builtinOptions.bodySubgraphIndex]) else 0
    return None if code not in _FREE and _has_weights(model, graph, operator) else 0


def loop_macs(model: Any, graph: Any, operator: Any) -> int | None:
    """A loop of edgedl_tflite.loops: every time step costs the body of the innermost loop; its second operand is the length."""
    length = flatbuffer.constant(model, graph.tensors[operator.inputs[1]])
    step = _graph_macs(model, _innermost(model, operator))
    return None if step is None else step * (int(length[0]) if length is not None else 1)


def _innermost(model: Any, loop: Any) -> Any:
    """The body of a loop, or of the loop in it."""
    body = model.subgraphs[loop.builtinOptions.bodySubgraphIndex]
    inner = [operator for operator in body.operators if flatbuffer.code_of(model, operator) == _CODE.WHILE]
    return _innermost(model, inner[0]) if inner else body


def loop_graphs(model: Any, operator: Any) -> list[int]:
    """Indices of the subgraphs of a loop that edgedl wrote; none for other operators."""
    if flatbuffer.code_of(model, operator) != _CODE.WHILE:
        return []
    options = operator.builtinOptions
    ours = flatbuffer.text(model.subgraphs[options.bodySubgraphIndex].name).startswith(loops.PREFIX)
    return [options.condSubgraphIndex, options.bodySubgraphIndex] if ours else []


def _added(costs: Iterable[int | None]) -> int | None:
    total = 0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def _spec(tensor: Any, name: str) -> TensorSpec:
    signature = flatbuffer.numbers(tensor.shapeSignature) or list(flatbuffer.shape_of(tensor))
    dtype = flatbuffer.DTYPES.get(tensor.type, flatbuffer.TYPE_NAMES[tensor.type])
    return TensorSpec(name, tuple(DYNAMIC if n < 0 else n for n in signature), dtype, _quantization(tensor))


def _quantization(tensor: Any) -> Quantization | None:
    scale = scale_of(tensor)
    if scale is None:
        return None
    zero_points = tensor.quantization.zeroPoint
    return Quantization(scale, int(zero_points[0]) if zero_points is not None and len(zero_points) else 0)


def scale_of(tensor: Any) -> float | None:
    """The one scale of a quantized tensor; None where there is none, or one for each channel."""
    found = tensor.quantization
    if found is None or found.scale is None or len(found.scale) != 1:
        return None
    return float(found.scale[0])


def _operators(model: Any) -> Iterator[tuple[Any, Any]]:
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            yield graph, operator


def _is_shape(tensor: Any) -> bool:
    """Integers without a quantization are shapes, axes and indices; quantized biases are int32 with one."""
    integer = tensor.type in (schema.TensorType.INT32, schema.TensorType.INT64)
    quantized = (
        tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale)
    )
    return integer and not quantized


def _elements(tensor: Any, data: Any) -> int:
    """Number of values that the bytes hold, whatever the written shape says."""
    name = flatbuffer.TYPE_NAMES[tensor.type]
    return len(data) * 8 // _BITS.get(name, _width(name) * 8)


def _width(name: str) -> int:
    return {"float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "float32": 4, "int32": 4, "uint32": 4,
            "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "complex128": 16}.get(name, 1)  # fmt: skip


def _bytes_by_dtype(weights: list[tuple[Any, Any]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for tensor, data in weights:
        total[flatbuffer.TYPE_NAMES[tensor.type]] += len(data)
    return dict(total)


def _constants(model: Any) -> Iterator[tuple[str, str, int, int]]:
    """(operator, dtype, bytes, axes longer than 1) of every constant that is a weight; the operator is the first that computes with it."""
    reader = _readers(model)
    for tensor, data in weight_tensors(model):
        rank = sum(length > 1 for length in flatbuffer.shape_of(tensor))
        yield reader.get(tensor.buffer, "unused"), flatbuffer.TYPE_NAMES[tensor.type], len(data), rank


def _readers(model: Any) -> dict[int, str]:
    """Buffer -> the name of the first operator that reads it, after a DEQUANTIZE that only widens it."""
    found: dict[int, str] = {}
    for graph in reversed(model.subgraphs):
        widened: dict[int, str] = {}
        for operator in reversed(graph.operators or []):
            outputs, name = flatbuffer.numbers(operator.outputs), flatbuffer.operator_name(model, operator)
            if name == "DEQUANTIZE":
                name = next((widened[index] for index in outputs if index in widened), name)
            for index in (i for i in flatbuffer.numbers(operator.inputs) if i >= 0):
                found[graph.tensors[index].buffer] = widened[index] = name
    return found


def shape(graph: Any, index: int) -> tuple[int, ...]:
    """The written shape, with a dynamic axis as 1."""
    tensor = graph.tensors[index]
    written = flatbuffer.shape_of(tensor)
    signature = flatbuffer.numbers(tensor.shapeSignature) or written
    return tuple(abs(n) if fixed >= 0 else max(n, 1) for n, fixed in zip(written, signature, strict=True))


def _convolution(graph: Any, operator: Any) -> int:
    """Every output value sums one filter: [out, height, width, in]."""
    return prod(shape(graph, operator.outputs[0])) * prod(shape(graph, operator.inputs[1])[1:])


def _depthwise(graph: Any, operator: Any) -> int:
    """Every output value sums one channel's filter: [1, height, width, out]."""
    return prod(shape(graph, operator.outputs[0])) * prod(shape(graph, operator.inputs[1])[1:3])


def _transposed(graph: Any, operator: Any) -> int:
    """Every input value is spread over one filter: [out, height, width, in]."""
    filters = shape(graph, operator.inputs[1])
    return prod(shape(graph, operator.inputs[2])) * prod(filters[:3])


def _fully_connected(graph: Any, operator: Any) -> int:
    return prod(shape(graph, operator.outputs[0])) * shape(graph, operator.inputs[1])[-1]


def _batch_matmul(graph: Any, operator: Any) -> int:
    inner = shape(graph, operator.inputs[0])[-2 if getattr(operator.builtinOptions, "adjX", False) else -1]
    return prod(shape(graph, operator.outputs[0])) * inner


_COSTS: dict[int, Callable[[Any, Any], int]] = {
    _CODE.CONV_2D: _convolution,
    _CODE.DEPTHWISE_CONV_2D: _depthwise,
    _CODE.TRANSPOSE_CONV: _transposed,
    _CODE.FULLY_CONNECTED: _fully_connected,
    _CODE.BATCH_MATMUL: _batch_matmul,
}
_UNKNOWN_COST = {
    _CODE.LSTM, _CODE.UNIDIRECTIONAL_SEQUENCE_LSTM, _CODE.BIDIRECTIONAL_SEQUENCE_LSTM, _CODE.RNN, _CODE.SVDF, _CODE.CONV_3D,
    _CODE.UNIDIRECTIONAL_SEQUENCE_RNN, _CODE.BIDIRECTIONAL_SEQUENCE_RNN, _CODE.CONV_3D_TRANSPOSE, _CODE.CUSTOM,
    _CODE.STABLEHLO_DOT_GENERAL, _CODE.STABLEHLO_CONVOLUTION, _CODE.STABLEHLO_COMPOSITE, _CODE.WHILE, _CODE.IF, _CODE.CALL,
}  # fmt: skip
_FREE = {code for name, code in vars(_CODE).items() if isinstance(code, int)} - _UNKNOWN_COST
"""Operators that move or combine values and multiply no matrices; their constants are scales, tables and the like."""


def _has_weights(model: Any, graph: Any, operator: Any) -> bool:
    tensors = [graph.tensors[i] for i in flatbuffer.numbers(operator.inputs) if i >= 0]
    return any(flatbuffer.constant(model, tensor) is not None and not _is_shape(tensor) for tensor in tensors)

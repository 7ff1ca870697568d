"""The lifetimes of a .tflite file's tensors, at the written shapes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import InvalidArtifact
from edgedl.lifetimes import Buffer, Lifetimes
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import shape

_CODE = schema.BuiltinOperator
_SCRATCH = {
    _CODE.MEAN, _CODE.SUM, _CODE.REDUCE_MAX, _CODE.REDUCE_MIN, _CODE.TRANSPOSE_CONV, _CODE.BATCH_MATMUL, _CODE.SVDF,
    _CODE.UNIDIRECTIONAL_SEQUENCE_LSTM, _CODE.SOFTMAX,
}  # fmt: skip
"""Operators whose kernels ask for more memory while they run; counted as a 32-bit number for each value that they read or write."""
_BITS = {schema.TensorType.INT4: 4, schema.TensorType.COMPLEX64: 64}


def lifetimes(path: Path) -> Lifetimes:
    """InvalidArtifact if the file is no TFLite model. A dynamic axis counts as its written length, which is 1."""
    model = read_checked(path)
    try:
        return _lifetimes(model)
    except InvalidArtifact:
        raise
    except Exception as error:  # the file is consistent in its links and still impossible in its contents
        raise InvalidArtifact(f"{path} is a broken TFLite model ({error}): export it again") from error


def _lifetimes(model: Any) -> Lifetimes:
    main = model.subgraphs[0]
    return Lifetimes(
        buffers=tuple(tuple(_buffers(model, graph)) for graph in model.subgraphs),
        operators=tuple(flatbuffer.operator_name(model, o) for g in model.subgraphs for o in g.operators or []),
        tensors=sum(len(graph.tensors or []) for graph in model.subgraphs),
        channels=sum(_channels(tensor) for graph in model.subgraphs for tensor in graph.tensors or []),
        variables=sum(_size(g, i) for g in model.subgraphs for i, t in enumerate(g.tensors or []) if t.isVariable),
        inputs=len(flatbuffer.numbers(main.inputs)),
        outputs=len(flatbuffer.numbers(main.outputs)),
    )


def _buffers(model: Any, graph: Any) -> Iterator[Buffer]:
    """Inputs live from before the first operator, outputs until after the last, all else from writer to last reader."""
    operators = graph.operators or []
    span: dict[int, list[int]] = {}
    for time, operator in enumerate(operators):
        for index in (*flatbuffer.numbers(operator.inputs), *flatbuffer.numbers(operator.outputs)):
            span.setdefault(index, []).append(time)
    for index in flatbuffer.numbers(graph.inputs):
        span.setdefault(index, []).append(0)
    for index in flatbuffer.numbers(graph.outputs):
        span.setdefault(index, []).append(max(len(operators) - 1, 0))
    for time, operator in enumerate(operators):
        if flatbuffer.code_of(model, operator) in _SCRATCH:
            yield Buffer(4 * sum(_elements(model, graph, operator)), time, time)
    for index, times in span.items():
        if index >= 0 and _computed(model, graph.tensors[index]):
            yield Buffer(_size(graph, index), min(times), max(times))


def _elements(model: Any, graph: Any, operator: Any) -> Iterator[int]:
    for index in (*flatbuffer.numbers(operator.inputs), *flatbuffer.numbers(operator.outputs)):
        if index >= 0 and _computed(model, graph.tensors[index]):
            yield prod(shape(graph, index))


def _computed(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return (data is None or not len(data)) and not tensor.isVariable


def _size(graph: Any, index: int) -> int:
    kind = graph.tensors[index].type
    bits = _BITS.get(kind) or 8 * np.dtype(flatbuffer.DTYPES.get(kind, "int8")).itemsize
    return -(-prod(shape(graph, index)) * bits // 8)


def _channels(tensor: Any) -> int:
    """Biases have the scales of their weights, and are not counted again."""
    if tensor.type == schema.TensorType.INT32:
        return 0
    found = tensor.quantization
    scales = 0 if found is None or found.scale is None else len(found.scale)
    return scales if scales > 1 else 0

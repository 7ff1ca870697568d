"""A file taken apart: each operator as a model of its own, with the inputs that it really gets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import Unsupported
from edgedl.exporter import Piece
from edgedl.runtime import accept
from edgedl.spec import Array, Feeds
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import operator_macs, specs
from edgedl_tflite.intermediates import run_keeping_all

Values = Mapping[int, Array]
"""index of a tensor of the main graph -> its value, as stored"""


def pieces(path: Path, feeds: Feeds) -> Iterator[Piece]:
    """The operators that run, in order; what is computed from constants alone is a constant here, as in the engine.

    Unsupported for a file of several signatures. InvalidArtifact, InvalidTensor or EngineFailed as in a session.
    """
    model = read_checked(path)
    if len(model.signatureDefs or []) > 1:
        raise Unsupported(f"{path} has several signatures: export one shape alone to profile it")
    values = _values(path, model, accept(feeds, specs(model)[0]))
    graph = model.subgraphs[0]
    constants = {index for index, tensor in enumerate(graph.tensors) if flatbuffer.constant(model, tensor) is not None}
    for operator in graph.operators or []:
        inputs = [index for index in flatbuffer.numbers(operator.inputs) if index >= 0]
        if constants.issuperset(inputs):
            constants.update(flatbuffer.numbers(operator.outputs))
        else:
            yield _piece(model, operator, values, constants)


def _values(path: Path, model: Any, inputs: Feeds) -> Values:
    interpreter = run_keeping_all(path, inputs)
    found = {}
    for index in range(len(model.subgraphs[0].tensors)):
        try:
            found[index] = np.array(interpreter.get_tensor(index))
        except ValueError:  # the engine keeps none: an optional tensor, or a state
            continue
    return found


def _piece(model: Any, operator: Any, values: Values, constants: set[int]) -> Piece:
    graph = model.subgraphs[0]
    used = [index for index in flatbuffer.numbers(operator.inputs) if index >= 0]
    outputs = flatbuffer.numbers(operator.outputs)
    computed = [
        index
        for index in dict.fromkeys(used)
        if index not in constants and index in values and not graph.tensors[index].isVariable
    ]
    alone = _alone(model, operator, computed, outputs, values, constants)
    return Piece(
        name=flatbuffer.text(graph.tensors[outputs[0]].name) if outputs else "",
        kind=flatbuffer.operator_name(model, operator),
        macs=operator_macs(alone, alone.subgraphs[0], alone.subgraphs[0].operators[0]),
        bytes_in=sum(_bytes(model, index, values) for index in dict.fromkeys(used)),
        bytes_out=sum(_bytes(model, index, values) for index in outputs),
        content=flatbuffer.serialize(alone),
        inputs=tuple(values[index] for index in computed),
    )


def _alone(
    model: Any, operator: Any, computed: list[int], outputs: list[int], values: Values, constants: set[int]
) -> Any:
    """The model with this operator alone in its main graph; other graphs stay where the operator calls them."""
    alone, graph = copy.copy(model), copy.copy(model.subgraphs[0])
    order = list(dict.fromkeys([*(i for i in flatbuffer.numbers(operator.inputs) if i >= 0), *outputs]))
    alone.buffers, graph.tensors = [schema.BufferT()], []
    for index in order:
        tensor = copy.copy(graph_tensor := model.subgraphs[0].tensors[index])
        tensor.shapeSignature, tensor.buffer = None, 0
        if index in values:
            tensor.shape = np.array(values[index].shape, np.int32)
        if index in constants:
            alone.buffers.append(_data(model, graph_tensor, values.get(index)))
            tensor.buffer = len(alone.buffers) - 1
        graph.tensors.append(tensor)
    place = {index: number for number, index in enumerate(order)} | {-1: -1}
    moved = copy.copy(operator)
    moved.inputs, moved.outputs, moved.intermediates = (
        np.array([place.get(i, -1) for i in flatbuffer.numbers(side)], np.int32)
        for side in (operator.inputs, operator.outputs, None)
    )
    graph.operators = [moved]
    graph.inputs, graph.outputs = ([place[i] for i in side] for side in (computed, outputs))
    alone.signatureDefs, alone.metadata, alone.metadataBuffer = [], [], None
    alone.subgraphs = [graph, *_called(model, alone)]
    return alone


def _data(model: Any, tensor: Any, value: Array | None) -> Any:
    """The stored bytes of a constant, or those that were computed from constants."""
    stored = model.buffers[tensor.buffer]
    if stored.data is not None or value is None:
        return copy.copy(stored)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    return buffer


def _called(model: Any, alone: Any) -> list[Any]:
    """The other graphs, with their data in the buffers of the new model."""
    graphs = []
    for graph in model.subgraphs[1:]:
        moved = copy.copy(graph)
        moved.tensors = []
        for tensor in graph.tensors:
            kept = copy.copy(tensor)
            if model.buffers[tensor.buffer].data is not None:
                alone.buffers.append(copy.copy(model.buffers[tensor.buffer]))
                kept.buffer = len(alone.buffers) - 1
            moved.tensors.append(kept)
        graphs.append(moved)
    return graphs


def _bytes(model: Any, index: int, values: Values) -> int:
    """As stored: constants of 4 bits count half a byte."""
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    return len(data) if data is not None else values[index].nbytes if index in values else 0


def least_bytes(path: Path, feeds: Feeds) -> int:
    """The largest sum of the tensors that are alive at one operator: a lower bound of any plan of memory.

    A tensor lives from the operator that makes it, an input from the start, to the last one that reads it, an output to
    the end; constants and in-place operators are not counted.
    """
    model = read_checked(path)
    values = _values(path, model, accept(feeds, specs(model)[0]))
    graph = model.subgraphs[0]
    born, died = dict.fromkeys(flatbuffer.numbers(graph.inputs), 0), {}
    operators = graph.operators or []
    for step, operator in enumerate(operators):
        born.update({index: step for index in flatbuffer.numbers(operator.outputs) if index not in born})
        died.update(dict.fromkeys(flatbuffer.numbers(operator.inputs), step))
    died.update(dict.fromkeys(flatbuffer.numbers(graph.outputs), len(operators)))
    alive = np.zeros(len(operators) + 2, np.int64)
    for index, start in born.items():
        size = values[index].nbytes if index in values else 0
        alive[start] += size
        alive[died.get(index, start) + 1] -= size
    return int(np.cumsum(alive).max(initial=0))

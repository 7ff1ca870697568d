"""The marks of recurrent layers become WHILE loops over time, one per layer.

All state goes in and out of the loop as values: nothing is kept from one run of an interpreter to the next, as the
builtin sequence operators do in their variable tensors; initial and final states are plain tensors.

Loop variables: position [1], length [1], projected [time, rows, gates x hidden], sequence [time, rows, hidden], and
the states [1, rows, hidden], where rows = directions x batch. TFLite copies the loop variables that a step changes, so
its time would be quadratic in the length; a long sequence is therefore run in chunks, a loop within a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer
from edgedl_tflite.cells import CELLS
from edgedl_tflite.graphs import BOOL, INT32, GraphBuilder, new_subgraph, signature_of
from edgedl_tflite.prune import prune
from edgedl_tflite.recurrent import TARGET

_CODE = schema.BuiltinOperator
PREFIX = "edgedl/loop"
"""What the names of the subgraphs and of their tensors begin with."""
_UNCHUNKED = 1 << 14
"""Bytes of a sequence below which copying it costs less than a second loop."""

Body = Callable[[GraphBuilder, list[int]], list[int]]
"""(builder, loop variables) -> their new values"""


@dataclass(frozen=True)
class Mark:
    """A mark in the main graph: tensor indices of its operands and results. weights, biases: one for each direction."""

    cell: str
    projected: int
    weights: list[int]
    biases: list[int]
    states: list[int]
    sequence: int
    finals: list[int]


def expand(model: Any) -> None:
    """Put a loop in the place of every mark of the main graph; edits `model`."""
    graph = model.subgraphs[0]
    operators: list[Any] = []
    count = 0
    for operator in graph.operators or []:
        mark = _mark(model, operator)
        if mark is None:
            operators.append(operator)
            continue
        _Loop(GraphBuilder(model, graph, f"{PREFIX}_{count}/main", operators), mark, f"{PREFIX}_{count}").write()
        count += 1
    if count:
        graph.operators = operators
        prune(model)


def _mark(model: Any, operator: Any) -> Mark | None:
    if flatbuffer.code_of(model, operator) != _CODE.STABLEHLO_CUSTOM_CALL:
        return None
    target = flatbuffer.text(operator.builtinOptions2.callTargetName)
    if not target.startswith(TARGET):
        return None
    cell, _, directions = target.removeprefix(f"{TARGET}.").partition(".")
    projected, *operands = flatbuffer.numbers(operator.inputs)
    sequence, *finals = flatbuffer.numbers(operator.outputs)
    weights, rest = operands[: int(directions)], operands[int(directions) :]
    return Mark(cell, projected, weights, rest[: -len(finals)], rest[-len(finals) :], sequence, finals)


def chunk_length(time: int, row_bytes: int) -> int | None:
    """Steps of a chunk, so that copying chunks costs about as much as copying the sequence; None for one plain loop.

    row_bytes: size of the sequence at one time. A divisor of `time` is preferred: it needs no overlap of the last two.
    """
    if time * row_bytes < _UNCHUNKED or time < 32:
        return None
    root = math.sqrt(time)
    divisors = [n for n in range(math.ceil(root), int(3 * root)) if time % n == 0]
    return divisors[0] if divisors else math.ceil(1.5 * root)


class _Loop:
    """The loop of one mark: its subgraphs, and the operators that start it."""

    def __init__(self, main: GraphBuilder, mark: Mark, name: str) -> None:
        self.main, self.mark, self.name = main, mark, name
        self.sequence = main.graph.tensors[mark.sequence]

    def write(self) -> None:
        time, rows, hidden = flatbuffer.shape_of(self.sequence)
        chunk = None if -1 in signature_of(self.sequence) else chunk_length(time, rows * hidden * 4)
        length, dims = self._lengths()
        start = self.main.constant(np.zeros(1, np.int32))
        room = self.main.zeros(dims, self.sequence)
        variables = [start, length, self.mark.projected, room, *self.mark.states]
        if chunk is None:
            self._repeat(self.main, variables, self._step, "steps", [self.mark.sequence, *self.mark.finals])
        else:
            body: Body = lambda builder, inputs: self._chunk(builder, inputs, chunk, time)  # noqa: E731
            self._repeat(self.main, variables, body, "chunks", [self.mark.sequence, *self.mark.finals])

    def _lengths(self) -> tuple[int, int]:
        """(the number of time steps [1], the shape of the sequence [3]), as constants where they are fixed."""
        main, shape, signature = self.main, flatbuffer.shape_of(self.sequence), signature_of(self.sequence)
        if -1 not in signature:
            return main.constant(np.array(shape[:1], np.int32)), main.constant(np.array(shape, np.int32))
        options = schema.ShapeOptionsT()
        options.outType = INT32
        dims = main.add(_CODE.SHAPE, [self.mark.projected], [main.tensor([3], INT32)], options)
        length = main.constant(np.array(shape[:1], np.int32)) if signature[0] >= 0 else self._slice(dims, 1)
        return length, main.vector([self._slice(dims, 2), main.constant(np.array(shape[2:], np.int32))], 3)

    def _slice(self, vector: int, count: int) -> int:
        """The first elements of a vector."""
        bounds = [self.main.constant(np.array([n], np.int32)) for n in (0, count)]
        output = self.main.tensor([count], INT32)
        return self.main.add(_CODE.SLICE, [vector, *bounds], [output], schema.SliceOptionsT())

    def _repeat(self, builder: GraphBuilder, variables: list[int], body: Body, kind: str, results: list[int]) -> None:
        """A WHILE in the builder's graph; `results`: tensors for the final values of the sequence and the states."""
        tensors = [builder.graph.tensors[index] for index in variables]
        options = schema.WhileOptionsT()
        options.condSubgraphIndex = self._condition(tensors, f"{self.name}/{kind}/condition")
        options.bodySubgraphIndex = self._body(tensors, body, f"{self.name}/{kind}/body")
        unused = [builder.like(tensor) for tensor in tensors[:3]]
        builder.add(_CODE.WHILE, variables, [*unused, *results], options)

    def _condition(self, tensors: list[Any], name: str) -> int:
        index, graph = new_subgraph(self.main.model, name)
        builder = GraphBuilder(self.main.model, graph, name, graph.operators)
        inputs = [builder.like(tensor) for tensor in tensors]
        result = builder.add(_CODE.LESS, inputs[:2], [builder.tensor([1], BOOL)], schema.LessOptionsT())
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array([result], np.int32)
        return index

    def _body(self, tensors: list[Any], body: Body, name: str) -> int:
        index, graph = new_subgraph(self.main.model, name)
        builder = GraphBuilder(self.main.model, graph, name, graph.operators)
        inputs = [builder.like(tensor) for tensor in tensors]
        graph.inputs = np.array(inputs, np.int32)
        graph.outputs = np.array(body(builder, inputs), np.int32)
        return index

    def _step(self, builder: GraphBuilder, inputs: list[int]) -> list[int]:
        """One time step: read a row of `projected`, compute, write a row of the sequence."""
        position, length, projected, sequence, *states = inputs
        row = builder.rows(projected, position)
        new = CELLS[self.mark.cell](builder, row, self._recurrent(builder, states[0], row), states)
        following = builder.sum(position, builder.constant(np.ones(1, np.int32)))
        return [following, length, projected, builder.written(sequence, new[0], position), *new]

    def _recurrent(self, builder: GraphBuilder, hidden: int, like: int) -> int:
        """The hidden state's part in all gates: a matrix product for each direction."""
        tensors = self.main.graph.tensors
        weights = [builder.shared(tensors[index]) for index in self.mark.weights]
        biases = [builder.shared(tensors[index]) for index in self.mark.biases] or [-1] * len(weights)
        if len(weights) == 1:
            return builder.matrix_product(hidden, weights[0], biases[0])
        rows = builder.split(hidden, len(weights), axis=1)
        products = [builder.matrix_product(*operands) for operands in zip(rows, weights, biases, strict=True)]
        return builder.concatenation(products, builder.graph.tensors[like], axis=1)

    def _chunk(self, builder: GraphBuilder, inputs: list[int], chunk: int, time: int) -> list[int]:
        """A chunk of time steps, by a loop on copies of its rows; the last one begins early, within the one before."""
        position, length, projected, sequence, *states = inputs
        first, inner = position, builder.constant(np.zeros(1, np.int32))
        if time % chunk:
            first = builder.smaller(position, builder.constant(np.array([time - chunk], np.int32)))
            inner = builder.difference(position, first)
        positions = builder.offsets(first, chunk)
        rows = [builder.rows(tensor, positions) for tensor in (projected, sequence)]
        variables = [inner, builder.constant(np.array([chunk], np.int32)), *rows, *states]
        results = [builder.like(builder.graph.tensors[index]) for index in (rows[1], *states)]
        self._repeat(builder, variables, self._step, "steps", results)
        following = builder.sum(first, builder.constant(np.array([chunk], np.int32)))
        return [following, length, projected, builder.written(sequence, results[0], first), *results[1:]]

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

_CODE = schema.BuiltinOperator
TARGET = "edgedl.recurrent"
"""The call target of the marks: `edgedl.recurrent.CELL.DIRECTIONS`."""
PREFIX = "edgedl/loop"
"""What the names of the subgraphs and of their tensors begin with."""
_UNCHUNKED = 1 << 15
"""Bytes of a sequence below which copying it costs less than a second loop."""

Body = Callable[[GraphBuilder, list[int]], list[int]]
"""(builder, loop variables) -> their new values"""


@dataclass(frozen=True)
class Mark:
    """A mark in the main graph: tensor indices of its operands and results. weights, biases, sequences: one for each direction."""

    cell: str
    projected: int
    weights: list[int]
    biases: list[int]
    states: list[int]
    sequences: list[int]
    finals: list[int]


def expand(model: Any) -> None:
    """Put a loop in the place of every mark of the main graph; edits `model`."""
    graph = model.subgraphs[0]
    operators: list[Any] = []
    rooms: dict[tuple[int, ...], int] = {}
    count = 0
    for operator in graph.operators or []:
        mark = _mark(model, operator)
        if mark is None:
            operators.append(operator)
            continue
        _Loop(GraphBuilder(model, graph, f"{PREFIX}_{count}/main", operators), mark, f"{PREFIX}_{count}", rooms).write()
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
    results, number = flatbuffer.numbers(operator.outputs), int(directions)
    sequences, finals = results[:number], results[number:]
    weights, rest = operands[:number], operands[number:]
    return Mark(cell, projected, weights, rest[: -len(finals)], rest[-len(finals) :], sequences, finals)


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
    """The loop of one mark: its subgraphs, and the operators that start it.

    rooms: zeros of fixed shapes that loops before have made; no loop changes them.
    """

    def __init__(self, main: GraphBuilder, mark: Mark, name: str, rooms: dict[tuple[int, ...], int]) -> None:
        self.main, self.mark, self.name, self.rooms = main, mark, name, rooms
        hidden = flatbuffer.shape_of(main.graph.tensors[mark.sequences[0]])[-1]
        self.index = mark.sequences[0] if len(mark.sequences) == 1 else main.resized(mark.projected, hidden)
        self.sequence = main.graph.tensors[self.index]

    def write(self) -> None:
        """Append the operators to the main graph."""
        if signature_of(self.sequence)[0] == 1:
            self._once()
        else:
            self._loop()
        if len(self.mark.sequences) > 1:
            self.main.split_into(self.index, self.mark.sequences, axis=1)

    def _once(self) -> None:
        """A single time step needs no loop."""
        first = len(self.main.operators)
        recurrent = self._recurrent(self.main, self.mark.states[0], self.mark.projected)
        new = CELLS[self.mark.cell](self.main, self.mark.projected, recurrent, self.mark.states)
        finals = dict(zip(new, self.mark.finals, strict=True))
        for operator in self.main.operators[first:]:
            for side in ("inputs", "outputs"):
                indices = flatbuffer.numbers(getattr(operator, side))
                setattr(operator, side, np.array([finals.get(index, index) for index in indices], np.int32))
        self.main.copy(self.mark.finals[0], self.index)

    def _loop(self) -> None:
        time, rows, hidden = flatbuffer.shape_of(self.sequence)
        chunk = None if -1 in signature_of(self.sequence) else chunk_length(time, rows * hidden * 4)
        start = self.main.constant(np.zeros(1, np.int32))
        length, room = self._length_and_room()
        variables = [start, length, self.mark.projected, room, *self.mark.states]
        body: Body = self._step if chunk is None else lambda b, inputs: self._chunk(b, inputs, chunk, time)
        kind = "steps" if chunk is None else "chunks"
        self._repeat(self.main, variables, body, kind, [self.index, *self.mark.finals])

    def _length_and_room(self) -> tuple[int, int]:
        """(the number of time steps [1], zeros of the sequence's shape to write into)."""
        main, shape, signature = self.main, flatbuffer.shape_of(self.sequence), signature_of(self.sequence)
        fixed = main.constant(np.array(shape[:1], np.int32))
        if -1 not in signature:
            if shape not in self.rooms:
                self.rooms[shape] = main.zeros(main.constant(np.array(shape, np.int32)), self.sequence)
            return fixed, self.rooms[shape]
        dims = main.shape(self.mark.projected, len(shape))
        length = fixed if signature[0] >= 0 else self._slice(dims, 1)
        hidden = main.constant(np.array(shape[2:], np.int32))
        return length, main.zeros(main.vector([self._slice(dims, 2), hidden], 3), self.sequence)

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
        unused = [builder.tensor([0], tensor.type) for tensor in tensors[:3]]  # LiteRT gives them no memory
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

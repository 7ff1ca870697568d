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
"""The call target of the marks: `edgedl.recurrent.CELL.DIRECTIONS.NAME`."""
PREFIX = "edgedl/loop"
"""What the names of the subgraphs and of their tensors begin with, but for those of the matrix products, which bear their weights'."""
_UNCHUNKED = 1 << 15
"""Bytes of a sequence below which copying it costs less than a second loop."""

Body = Callable[[GraphBuilder, list[int]], list[int]]
"""(builder, loop variables) -> their new values"""


@dataclass(frozen=True)
class Mark:
    """A mark in the main graph: tensor indices of its operands and results. weights, biases, sequences: one for each direction.

    name: of the first direction's recurrent weight in the user's module, as `gru.weight_hh_l0`.
    """

    cell: str
    name: str
    projected: int
    weights: list[int]
    biases: list[int]
    states: list[int]
    sequences: list[int]
    finals: list[int]


def expand(model: Any, longest: int = 0) -> None:
    """Put a loop in the place of every mark of the main graph; edits `model`. longest: steps, where they are dynamic."""
    graph = model.subgraphs[0]
    operators: list[Any] = []
    rooms: dict[tuple[int, ...], int] = {}
    count = 0
    for operator in graph.operators or []:
        mark = _mark(model, operator)
        if mark is None:
            operators.append(operator)
            continue
        name = f"{PREFIX}_{count}"
        _Loop(GraphBuilder(model, graph, f"{name}/main", operators), mark, name, rooms, longest).write()
        count += 1
    if count:
        graph.operators = operators
        prune(model)


def products_in_loops(model: Any) -> list[str]:
    """The names of the matrix products in the loops that edgedl wrote."""
    loops = [graph for graph in model.subgraphs if flatbuffer.text(graph.name).startswith(PREFIX)]
    return [
        flatbuffer.text(graph.tensors[operator.outputs[0]].name)
        for graph in loops
        for operator in graph.operators or []
        if flatbuffer.code_of(model, operator) == _CODE.FULLY_CONNECTED
    ]


def _mark(model: Any, operator: Any) -> Mark | None:
    if flatbuffer.code_of(model, operator) != _CODE.STABLEHLO_CUSTOM_CALL:
        return None
    target = flatbuffer.text(operator.builtinOptions2.callTargetName)
    if not target.startswith(TARGET):
        return None
    cell, directions, name = target.removeprefix(f"{TARGET}.").split(".", 2)
    projected, *operands = flatbuffer.numbers(operator.inputs)
    results, number = flatbuffer.numbers(operator.outputs), int(directions)
    sequences, finals = results[:number], results[number:]
    weights, rest = operands[:number], operands[number:]
    return Mark(cell, name, projected, weights, rest[: -len(finals)], rest[-len(finals) :], sequences, finals)


def chunk_length(time: int, row_bytes: int) -> int | None:
    """Steps of a chunk, so that copying chunks costs about as much as copying the sequence; None for one plain loop.

    row_bytes: size of the sequence at one time. A divisor of `time` is preferred: the chunks then fit exactly.
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

    def __init__(
        self, main: GraphBuilder, mark: Mark, name: str, rooms: dict[tuple[int, ...], int], longest: int
    ) -> None:
        self.main, self.mark, self.name, self.rooms, self.longest = main, mark, name, rooms, longest
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
        """One plain loop, or one over chunks; room for a whole chunk behind the end where they do not fit exactly."""
        length, dims = self._lengths()
        chunk = self._chunk_length()
        finals = self.mark.finals
        if chunk is None:
            self._repeat(self.main, self._variables(length, dims, 0), self._step, "steps", [self.index, *finals])
            return
        time = signature_of(self.sequence)[0]
        extra = 0 if time % chunk == 0 and time > 0 else chunk
        variables = self._variables(length, dims, extra)
        result = self.main.like(self.main.graph.tensors[variables[3]]) if extra else self.index
        body: Body = lambda builder, inputs: self._chunk(builder, inputs, chunk, not extra)  # noqa: E731
        self._repeat(self.main, variables, body, "chunks", [result, *finals])
        if extra:
            operands = [result, self.main.constant(np.zeros(3, np.int32)), dims]
            self.main.add(_CODE.SLICE, operands, [self.index], schema.SliceOptionsT())

    def _chunk_length(self) -> int | None:
        """For a dynamic batch, of one row; for a dynamic time, of the longest one."""
        (time, rows, hidden), signature = flatbuffer.shape_of(self.sequence), signature_of(self.sequence)
        return chunk_length(
            time if signature[0] > 0 else self.longest,
            (rows if signature[1] > 0 else len(self.mark.weights)) * hidden * 4,
        )

    def _lengths(self) -> tuple[int, int]:
        """(the number of time steps [1], the shape of the sequence [3]), as constants where they are fixed."""
        main, shape, signature = self.main, flatbuffer.shape_of(self.sequence), signature_of(self.sequence)
        if -1 not in signature:
            return main.constant(np.array(shape[:1], np.int32)), main.constant(np.array(shape, np.int32))
        dims = main.shape(self.mark.projected, len(shape))
        fixed = signature[0] >= 0
        length = main.constant(np.array(shape[:1], np.int32)) if fixed else self._slice(dims, 1)
        return length, main.vector([self._slice(dims, 2), main.constant(np.array(shape[2:], np.int32))], 3)

    def _variables(self, length: int, dims: int, extra: int) -> list[int]:
        """What a loop over the whole sequence starts from, with `extra` steps of zeros behind it."""
        start = self.main.constant(np.zeros(1, np.int32))
        projected = self.main.lengthened(self.mark.projected, extra) if extra else self.mark.projected
        return [start, length, projected, self._room(dims, extra), *self.mark.states]

    def _room(self, dims: int, extra: int) -> int:
        """Zeros of the sequence's shape, to write into."""
        main, (time, *rest), (axis, *others) = (
            self.main,
            flatbuffer.shape_of(self.sequence),
            signature_of(self.sequence),
        )
        shape = (time + extra, *rest)
        like = main.tensor(shape, signature=[axis if axis < 0 else time + extra, *others])
        if flatbuffer.constant(main.model, main.graph.tensors[dims]) is None:
            more = main.sum(dims, main.constant(np.array([extra, 0, 0], np.int32))) if extra else dims
            return main.zeros(more, main.graph.tensors[like])
        if shape not in self.rooms:
            self.rooms[shape] = main.zeros(main.constant(np.array(shape, np.int32)), main.graph.tensors[like])
        return self.rooms[shape]

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
        label, _, number = self.mark.name.rpartition(".weight_hh_l")
        builder.rename(unused[0], label if number == "0" else f"{label}.l{number}")
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
        """The hidden state's part in all gates: a matrix product for each direction, which bears the name of its weight."""
        tensors = self.main.graph.tensors
        weights = [builder.shared(tensors[index]) for index in self.mark.weights]
        biases = [builder.shared(tensors[index]) for index in self.mark.biases] or [-1] * len(weights)
        rows = [hidden] if len(weights) == 1 else builder.split(hidden, len(weights), axis=1)
        products = [builder.matrix_product(*operands) for operands in zip(rows, weights, biases, strict=True)]
        for product, direction in zip(products, ("", "_reverse"), strict=False):
            builder.rename(product, f"{self.mark.name}{direction}")
        return (
            products[0] if len(products) == 1 else builder.concatenation(products, builder.graph.tensors[like], axis=1)
        )

    def _chunk(self, builder: GraphBuilder, inputs: list[int], chunk: int, exact: bool) -> list[int]:
        """A chunk of time steps, by a loop on copies of its rows; the last one is shorter unless they are `exact`."""
        position, length, projected, sequence, *states = inputs
        steps = builder.constant(np.array([chunk], np.int32))
        inner = steps if exact else builder.smaller(builder.difference(length, position), steps)
        positions = builder.offsets(position, chunk)
        rows = [builder.rows(tensor, positions) for tensor in (projected, sequence)]
        variables = [builder.constant(np.zeros(1, np.int32)), inner, *rows, *states]
        results = [builder.like(builder.graph.tensors[index]) for index in (rows[1], *states)]
        self._repeat(builder, variables, self._step, "steps", results)
        following = builder.sum(position, steps)
        return [following, length, projected, builder.written(sequence, results[0], position), *results[1:]]

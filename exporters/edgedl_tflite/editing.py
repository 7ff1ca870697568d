"""A view of a ModelT's main graph for rewriting: who makes a tensor, who reads it, and operators put in the place of others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.spec import Array
from edgedl_tflite import flatbuffer
from edgedl_tflite.graphs import GraphBuilder

_CODE = schema.BuiltinOperator
_PREFIX = "edgedl/rewritten"
"""The beginning of new tensors' names; a number follows that no other tensor has."""


class Editing:
    """operators: in the order of computation. Edits go into the model's tensors and buffers at once, into its operators by `finish`."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.operators: list[Any] = list(self.graph.operators or [])
        self.outputs = set(flatbuffer.numbers(self.graph.outputs))
        self._makers = {index: o for o in self.operators for index in flatbuffer.numbers(o.outputs)}
        self._readers: dict[int, list[Any]] = {}
        self._stored: dict[tuple[tuple[int, ...], str, bytes], int] = {}
        for operator in self.operators:
            self._register(operator)

    def kind(self, operator: Any) -> str:
        return flatbuffer.operator_name(self.model, operator)

    def shape(self, index: int) -> tuple[int, ...]:
        return flatbuffer.shape_of(self.graph.tensors[index])

    def is_float(self, index: int) -> bool:
        return bool(self.graph.tensors[index].type == schema.TensorType.FLOAT32)

    def constant(self, index: int) -> Array | None:
        """The values of a constant in its shape; None for -1 and for what is computed."""
        if index < 0:
            return None
        values = flatbuffer.constant(self.model, self.graph.tensors[index])
        return None if values is None else values.reshape(self.shape(index))

    def maker(self, index: int, *kinds: str) -> Any | None:
        """The operator that computes a tensor, if it is of one of the kinds."""
        operator = self._makers.get(index)
        return operator if operator is not None and self.kind(operator) in kinds else None

    def readers(self, index: int) -> list[Any]:
        """Once for each operand that is the tensor."""
        return list(self._readers.get(index, []))

    def only_for(self, index: int, reader: Any) -> bool:
        """Nothing but one operand of `reader` needs the tensor."""
        return index not in self.outputs and len(self.readers(index)) == 1 and self.readers(index)[0] is reader

    def only_reader(self, index: int, kind: str) -> Any | None:
        """The operator that alone reads the tensor, if it is of the kind."""
        readers = self.readers(index)
        alone = len(readers) == 1 and index not in self.outputs and self.kind(readers[0]) == kind
        return readers[0] if alone else None

    def has(self, operator: Any) -> bool:
        """Whether an operator with outputs is still there."""
        return self._makers.get(int(operator.outputs[0])) is operator

    def has_plain_weights(self, layer: Any) -> bool:
        """All but the first operand are float constants, which no operator of another kind reads: a table of embeddings, say."""
        weights = [index for index in flatbuffer.numbers(layer.inputs)[1:] if index >= 0]
        kinds = {self.kind(reader) for index in weights for reader in self.readers(index)}
        return kinds == {self.kind(layer)} and all(
            self.is_float(index) and self.constant(index) is not None for index in weights
        )

    def stored(self, values: Array) -> int:
        """A constant of these values; one for all that ask for the same, as layers with shared weights do."""
        key = (values.shape, values.dtype.name, hashlib.sha256(values.tobytes()).digest())
        if key not in self._stored:
            self._stored[key] = self.builder().constant(values)
        return self._stored[key]

    def builder(self) -> GraphBuilder:
        """Its operators go into a list of its own, for `replace`."""
        return GraphBuilder(self.model, self.graph, _PREFIX, [])

    def replace(self, operator: Any, new: Sequence[Any]) -> None:
        """Put operators in the place of one, whose outputs they compute or nobody needs any more."""
        place = next(number for number, other in enumerate(self.operators) if other is operator)
        self.operators[place : place + 1] = new
        self._forget(operator)
        for one in new:
            self._register(one)
            self._makers.update(dict.fromkeys(flatbuffer.numbers(one.outputs), one))

    def bypass(self, operator: Any, source: int) -> bool:
        """Take out an operator whose output equals its operand `source`; whether that could be done.

        What reads the output reads `source`. An output of the graph is written by what made `source`, if nothing else needs that.
        """
        output = int(operator.outputs[0])
        if output not in self.outputs:
            self.replace(operator, [])
            for reader in self.readers(output):
                self.rewire(reader, output, source)
            return True
        maker = self._makers.get(source)
        if maker is None or not self.only_for(source, operator):
            return False
        self.replace(operator, [])
        maker.outputs = np.array([output if i == source else i for i in flatbuffer.numbers(maker.outputs)], np.int32)
        self._makers[output] = self._makers.pop(source)
        return True

    def rewire(self, operator: Any, old: int, new: int) -> None:
        """Every operand `old` of an operator becomes `new`."""
        self._unregister(operator)
        operator.inputs = np.array([new if i == old else i for i in flatbuffer.numbers(operator.inputs)], np.int32)
        self._register(operator)

    def sweep(self) -> bool:
        """Take out the operators whose outputs nobody needs; whether there were any. Those without outputs have an effect of their own."""
        count = len(self.operators)
        for operator in reversed(self.operators.copy()):
            indices = flatbuffer.numbers(operator.outputs)
            if indices and not any(i in self.outputs or self._readers.get(i) for i in indices):
                self.replace(operator, [])
        return len(self.operators) < count

    def finish(self) -> None:
        """Write the operators that are left into the graph."""
        self.graph.operators = self.operators

    def _register(self, operator: Any) -> None:
        for index in flatbuffer.numbers(operator.inputs):
            self._readers.setdefault(index, []).append(operator)

    def _unregister(self, operator: Any) -> None:
        for index in flatbuffer.numbers(operator.inputs):
            self._readers[index] = [other for other in self._readers[index] if other is not operator]

    def _forget(self, operator: Any) -> None:
        self._unregister(operator)
        for index in flatbuffer.numbers(operator.outputs):
            if self._makers.get(index) is operator:
                del self._makers[index]

"""Shapes that are computed in the file, for constants that a conversion fixed to one length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer
from edgedl_tflite.family import Family, Varying

_CODE = schema.BuiltinOperator
_INT32 = schema.TensorType.INT32

Dimension = tuple[int, int]
"""(index of a tensor, number of its dimension)"""


@dataclass
class ShapeBuilder:
    """Makes SHAPE, SLICE, MUL and CONCATENATION operators for a family's main model.

    LiteRT evaluates them when tensors are allocated, not at each run. operators: those that need only the inputs, for
    the front of the graph. local: those that read a tensor computed on the way, for the place before their reader.
    """

    family: Family
    operators: list[Any] = field(default_factory=list)
    local: list[Any] = field(default_factory=list)
    _known: dict[Any, int] = field(default_factory=dict)

    def vector(self, values: list[int], varying: Mapping[int, Varying], copied: Mapping[int, Dimension]) -> int:
        """Index of an int32 vector tensor with the values; those in `varying` follow the axes, those in `copied` a tensor."""
        key = (tuple(values), tuple(sorted((position, item.axes, item.factor) for position, item in varying.items())))
        if copied or key not in self._known:
            parts = [
                self._dimension(copied[p], self.local) if p in copied
                else self._number(varying[p]) if p in varying
                else self._constant(n)
                for p, n in enumerate(values)
            ]  # fmt: skip
            self._known[key] = self._joined(parts, self.local if copied else self.operators)
        return self._known.pop(key) if copied else self._known[key]

    def positions(self, values: list[int], from_end: Mapping[int, Dimension]) -> int:
        """Index of an int32 vector tensor; values in `from_end` (negative) count from the end of a tensor's dimension."""
        parts = [
            self._sum(self._dimension(from_end[p], self.local), n) if p in from_end else self._constant(n)
            for p, n in enumerate(values)
        ]
        return self._joined(parts, self.local)

    def _sum(self, vector: int, number: int) -> int:
        return self._add(_CODE.ADD, [vector, self._constant(number)], [1], schema.AddOptionsT(), self.local)

    def _joined(self, parts: list[int], place: list[Any]) -> int:
        if len(parts) == 1:
            return parts[0]
        return self._add(_CODE.CONCATENATION, parts, [len(parts)], schema.ConcatenationOptionsT(), place)

    def _number(self, varying: Varying) -> int:
        assert varying.factor is not None
        result = self._length(varying.axes[0])
        for axis in varying.axes[1:]:
            result = self._product(result, self._length(axis))
        return result if varying.factor == 1 else self._product(result, self._constant(varying.factor))

    def _product(self, left: int, right: int) -> int:
        if (left, right) not in self._known:
            self._known[left, right] = self._add(_CODE.MUL, [left, right], [1], schema.MulOptionsT(), self.operators)
        return self._known[left, right]

    def _length(self, axis: str) -> int:
        """A vector of one element: the axis's length at run time."""
        if axis not in self._known:
            self._known[axis] = self._dimension(self._source(axis), self.operators)
        return self._known[axis]

    def _dimension(self, dimension: Dimension, place: list[Any]) -> int:
        """A vector of one element: a dimension of a tensor at run time."""
        source, position = dimension
        rank = len(flatbuffer.shape_of(self.family.main.subgraphs[0].tensors[source]))
        options = schema.ShapeOptionsT()
        options.outType = _INT32
        shape = self._add(_CODE.SHAPE, [source], [rank], options, place)
        bounds = [self._constant(position), self._constant(1)]
        return self._add(_CODE.SLICE, [shape, *bounds], [1], schema.SliceOptionsT(), place)

    def _source(self, axis: str) -> Dimension:
        """An input tensor and its dimension that is the axis."""
        for index in flatbuffer.numbers(self.family.main.subgraphs[0].inputs):
            for position, varying in self.family.varying_dims(index).items():
                if varying == Varying((axis,), 1):
                    return index, position
        raise AssertionError(f"no input has the axis {axis!r}")

    def _constant(self, value: int) -> int:
        key = ("constant", value)
        if key not in self._known:
            name = next(flatbuffer.unused_names(self.family.main))
            self._known[key] = flatbuffer.add_constant(self.family.main, name, np.array([value], np.int32))
        return self._known[key]

    def _add(self, code: int, inputs: list[int], shape: list[int], options: Any, place: list[Any]) -> int:
        name = next(flatbuffer.unused_names(self.family.main))
        output = flatbuffer.add_tensor(self.family.main, name, shape, _INT32)
        place.append(flatbuffer.make_operator(self.family.main, code, inputs, [output], options))
        return output

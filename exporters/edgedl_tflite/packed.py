"""A rule about packed weights: a layer whose product is only cut apart, as of query, key and value, becomes one layer for each part."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.spec import Array
from edgedl_tflite import flatbuffer
from edgedl_tflite.editing import Editing
from edgedl_tflite.graphs import GraphBuilder

_CODE = schema.BuiltinOperator


@dataclass(frozen=True)
class _Cut:
    """How the product of a layer is laid out before it is cut.

    shape: what it is reshaped to; its last `inner` axes hold the channels. permutation: of these axes, before the cut.
    """

    index: int
    shape: tuple[int, ...]
    inner: int
    permutation: list[int]

    def channels(self, begin: list[int], size: list[int]) -> tuple[Array, int] | None:
        """(the channels that a slice takes, the axis of `shape` that it cuts); None if it cuts more, or something else."""
        axes = [p for p, axis in enumerate(self.permutation) if size[p] != self.shape[axis]]
        outer = len(self.shape) - self.inner
        if len(axes) != 1 or self.permutation[axes[0]] < outer:
            return None
        axis, first = self.permutation[axes[0]], begin[axes[0]]
        numbers = np.arange(prod(self.shape[outer:])).reshape(self.shape[outer:])
        return numbers.take(range(first, first + size[axes[0]]), axis=axis - outer).reshape(-1), axis


def unpacked(edit: Editing, layer: Any) -> bool:
    """Each SLICE of channels gets a layer with these rows of the weights, where the product was transposed for nothing but the cut.

    Elsewhere the cut is as cheap as the further quantizations of the input, or for narrow layers cheaper.
    """
    if not edit.has_plain_weights(layer):
        return False
    cut = _cut(edit, layer)
    slices = edit.readers(cut.index)
    parts = [_part(edit, cut, one) for one in slices]
    if cut.index in edit.outputs or len(slices) < 2 or any(part is None for part in parts):
        return False
    taken = np.concatenate([part[0] for part in parts if part])
    if len(set(taken)) < len(taken) or not all(_stays(cut, part) for part in parts if part):
        return False
    for one, part in zip(slices, parts, strict=True):
        assert part is not None
        builder = edit.builder()
        _compute(edit, builder, layer, part, int(one.outputs[0]))
        edit.replace(one, builder.operators)
    return True


def _stays(cut: _Cut, part: tuple[Array, int]) -> bool:
    """The part's values would be in the same order without the TRANSPOSE."""
    lengths = _lengths(cut, part)
    long = [axis for axis in cut.permutation if lengths[axis] != 1]
    return cut.permutation != sorted(cut.permutation) and long == sorted(long)


def _lengths(cut: _Cut, part: tuple[Array, int]) -> list[int]:
    """The shape of a part before the TRANSPOSE."""
    channels, axis = part
    lengths = list(cut.shape)
    lengths[axis] = len(channels) * cut.shape[axis] // prod(cut.shape[len(cut.shape) - cut.inner :])
    return lengths


def _cut(edit: Editing, layer: Any) -> _Cut:
    """The way from the layer to where it is cut: at most a RESHAPE of its last axis and a TRANSPOSE."""
    index = int(layer.outputs[0])
    shape, inner = edit.shape(index), 1
    if (reshape := edit.only_reader(index, "RESHAPE")) is not None:
        index = int(reshape.outputs[0])
        inner = _inner(edit.shape(index), shape[-1])
        shape = edit.shape(index)
    permutation = list(range(len(shape)))
    if (transpose := edit.only_reader(index, "TRANSPOSE")) is not None:
        values = edit.constant(int(transpose.inputs[1]))
        index = int(transpose.outputs[0])
        permutation = [] if values is None else [int(axis) for axis in values]
    return _Cut(index, shape, inner, permutation)


def _inner(shape: tuple[int, ...], channels: int) -> int:
    """How many of the last axes hold the channels; 0 if the shape mixes them with others."""
    return next((n for n in range(1, len(shape) + 1) if prod(shape[-n:]) == channels), 0)


def _part(edit: Editing, cut: _Cut, one: Any) -> tuple[Array, int] | None:
    begin, size = (edit.constant(int(one.inputs[n])) if edit.kind(one) == "SLICE" else None for n in (1, 2))
    if begin is None or size is None or not cut.inner or len(begin) != len(cut.permutation):
        return None
    lengths = [
        n if n >= 0 else cut.shape[axis] - b for n, b, axis in zip(size, begin, cut.permutation, strict=True)
    ]  # -1 is: to the end
    return cut.channels([int(n) for n in begin], [int(n) for n in lengths])


def _compute(edit: Editing, builder: GraphBuilder, layer: Any, part: tuple[Array, int], output: int) -> None:
    """The layer of some channels, in the shape of the tensor `output`."""
    channels, _ = part
    weights, bias = (edit.constant(int(index)) for index in (*layer.inputs[1:], -1)[:2])
    assert weights is not None
    operands = [
        edit.stored(np.ascontiguousarray(each[channels])) if each is not None else -1 for each in (weights, bias)
    ]
    source = builder.matrix_product(int(layer.inputs[0]), *operands)
    builder.operators[-1].builtinOptions.fusedActivationFunction = layer.builtinOptions.fusedActivationFunction
    name = flatbuffer.text(edit.graph.tensors[int(layer.outputs[0])].name)
    builder.graph.tensors[source].name = f"{name}/channels_{channels[0]}"
    builder.reshape_into(source, output)

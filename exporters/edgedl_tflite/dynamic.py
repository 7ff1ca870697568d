"""Dynamic axes: what differs between conversions at two lengths is made to follow the length.

litert-torch's own dynamic shapes raise for anything but plain CNNs. A file converted at fixed lengths already fits
every length but for constants: shape operands of RESHAPE, BROADCAST_TO and the like, and values expanded along an axis.
Those become -1, or are computed from the input's shape. Of a table of positions or a causal mask, whose shorter forms are
the beginnings of longer ones, the longest is kept and cut at run time. An axis that reaches any other constant is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.spec import Array
from edgedl_tflite import fixed_length, flatbuffer, loops, settle
from edgedl_tflite.convert import convert_plainly
from edgedl_tflite.family import (
    Conversion,
    DifferenceError,
    Family,
    Varying,
    axes_by_name,
    convert_family,
    inputs_at,
    tracing_pairs,
    unsupported,
)
from edgedl_tflite.shapes import Dimension, ShapeBuilder
from edgedl_tflite.simplify import simplify

_CODE = schema.BuiltinOperator
_SHAPE_OPERANDS = {
    _CODE.RESHAPE: 1,
    _CODE.BROADCAST_TO: 1,
    _CODE.FILL: 0,
    _CODE.SLICE: 2,
    _CODE.STRIDED_SLICE: 2,
    _CODE.TILE: 1,
    _CODE.TRANSPOSE_CONV: 0,
}
"""operator -> position of the operand that may be replaced by a computed one"""


def convert_dynamic(program: Program) -> Any:
    """The ModelT of a program, valid for any length of its dynamic axes; Unsupported if TFLite cannot carry one.

    An axis is blamed only where the file of a fixed length is right.
    """
    plain = _Conversions(program)
    if not program.quantized:
        with suppress(Unsupported):
            return _convert(program, plain.simplified)
    try:
        return _convert(program, plain)
    except Unsupported:
        inputs = inputs_at(program, tracing_pairs(program.dynamic_axes)[0])
        fixed_length.refuse_wrong(program, plain(inputs), inputs)
        raise


class _Conversions:
    """The converter's models of a program, each made once, or its refusal."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._made: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._refusal: Unsupported | None = None

    def __call__(self, inputs: Mapping[str, Array]) -> Any:
        if self._refusal:
            raise self._refusal
        shapes = tuple(array.shape for array in inputs.values())
        if shapes not in self._made:
            self._made[shapes] = self._convert(inputs)
        return copy.deepcopy(self._made[shapes])

    def _convert(self, inputs: Mapping[str, Array]) -> Any:
        try:
            return convert_plainly(self._program, inputs)
        except Unsupported as refusal:
            self._refusal = refusal
            raise

    def simplified(self, inputs: Mapping[str, Array]) -> Any:
        model = self(inputs)
        simplify(model)
        return model


def _convert(program: Program, convert: Conversion) -> Any:
    try:
        family = convert_family(program, convert)
        carry(family)
    except DifferenceError as difference:
        raise unsupported(program, str(difference), _axis_in(program, str(difference))) from difference
    loops.expand(family.main, max(axis.high for _, _, axis in axes_by_name(program.dynamic_axes).values()))
    return settle.settle(program, family.main)


def carry(family: Family) -> None:
    """Edit the family's main model so that nothing in it is fixed to its lengths; DifferenceError if something has to be."""
    builder = ShapeBuilder(family)
    graph = family.main.subgraphs[0]
    changed = {index for index in range(len(graph.tensors)) if _differs(family, index)}
    for index in range(len(graph.tensors)):
        _mark(family, index)
    operators: list[Any] = []
    for operator in graph.operators:
        inputs = flatbuffer.numbers(operator.inputs)
        new = [
            _replacement(family, builder, operator, p) if index in changed else index for p, index in enumerate(inputs)
        ]
        operator.inputs = np.array(new, np.int32)
        operators += [*builder.local, operator]
        builder.local.clear()
    graph.operators = [*builder.operators, *operators]


def _differs(family: Family, index: int) -> bool:
    values = [flatbuffer.constant(m, t) for m, t in zip(family.models, family.tensors(index), strict=True)]
    if values[0] is None:
        return False
    return any(other is None or not np.array_equal(values[0], other) for other in values[1:])


def _replacement(family: Family, builder: ShapeBuilder, operator: Any, position: int) -> int:
    """Index of the tensor that takes the place of a constant operand that depends on the axes."""
    index = int(operator.inputs[position])
    code, name = flatbuffer.code_of(family.main, operator), flatbuffer.operator_name(family.main, operator)
    values = _values(family, index)
    if _SHAPE_OPERANDS.get(code) == position and len({value.shape for value in values}) == 1:
        return _shape_operand(family, builder, operator, values)
    if (
        code == _CODE.SLICE
        and position == 1
        and (begin := _begin_from_end(family, builder, operator, values)) is not None
    ):
        return begin
    if (dims := family.varying_dims(index)) and _constant_along(values, dims):
        return _expanded(family, builder, index, values[0], dims)
    if (cut := _cut(family, builder, operator, position, dims)) is not None:
        return cut
    axis = family.axes[next(i for i, value in enumerate(values[1:]) if not np.array_equal(value, values[0]))]
    raise DifferenceError(f"{name} uses a constant that depends on the length of {axis!r}")


def _values(family: Family, index: int) -> list[Array]:
    """The constant in each model, in its shape."""
    flat = [
        flatbuffer.constant(model, tensor) for model, tensor in zip(family.models, family.tensors(index), strict=True)
    ]
    shapes = [flatbuffer.shape_of(tensor) for tensor in family.tensors(index)]
    return [values.reshape(shape) for values, shape in zip(flat, shapes, strict=True) if values is not None]


def _shape_operand(family: Family, builder: ShapeBuilder, operator: Any, values: list[Array]) -> int:
    found = {p: family.varying([int(v[p]) for v in values]) for p in range(len(values[0]))}
    varying = {position: item for position, item in found.items() if item}
    copied = {
        p: d
        for p, item in varying.items()
        if item.factor is None and (d := _same_dimension(family, operator, values, p))
    }
    result = [int(n) for n in values[0]]
    for position in _left_open(family, operator, varying, copied):
        result[position] = -1
        varying.pop(position)
        copied.pop(position, None)
    if not varying:
        return flatbuffer.add_constant(
            family.main, next(flatbuffer.unused_names(family.main)), np.array(result, np.int32)
        )
    if unknown := [item for position, item in varying.items() if item.factor is None and position not in copied]:
        name = flatbuffer.operator_name(family.main, operator)
        raise DifferenceError(f"{name} has a dimension that is no multiple of the length of {unknown[0].axes[0]!r}")
    return builder.vector(result, varying, copied)


def _begin_from_end(family: Family, builder: ShapeBuilder, operator: Any, values: list[Array]) -> int | None:
    """The begin of a slice as of `x[:, -1]`, which counts from the end of its input; None if it is another kind."""
    source = int(operator.inputs[0])
    if flatbuffer.constant(family.main, family.tensors(source)[0]) is not None:
        return None
    begins = np.array(values)
    offsets = begins - np.array(_shapes(family, source))
    varying = [p for p in range(begins.shape[1]) if len(set(begins[:, p])) > 1]
    if any(len(set(offsets[:, p])) > 1 for p in varying):
        return None
    result = [int(offsets[0, p]) if p in varying else int(n) for p, n in enumerate(begins[0])]
    return builder.positions(result, {p: (source, p) for p in varying})


def _same_dimension(family: Family, operator: Any, values: list[Array], position: int) -> Dimension | None:
    """The dimension of the operator's data input that has the wanted value in every model."""
    source, wanted = int(operator.inputs[0]), [int(value[position]) for value in values]
    if flatbuffer.constant(family.main, family.tensors(source)[0]) is not None:
        return None
    columns = list(zip(*_shapes(family, source), strict=True))
    return next(((source, number) for number, column in enumerate(columns) if list(column) == wanted), None)


def _left_open(family: Family, operator: Any, varying: dict[int, Varying], copied: dict[int, Dimension]) -> list[int]:
    """Positions that the operator itself can work out from a -1: one of a RESHAPE, a SLICE that runs to the end."""
    code = flatbuffer.code_of(family.main, operator)
    if code == _CODE.RESHAPE:
        return sorted(varying, key=lambda p: (varying[p].factor is not None) + (p in copied))[:1]
    if code == _CODE.SLICE:
        return [position for position in varying if _to_the_end(family, operator, position)]
    return []


def _to_the_end(family: Family, operator: Any, position: int) -> bool:
    """Whether the slice ends at the end of its input in every model."""
    source, begin, size = flatbuffer.numbers(operator.inputs)
    ends = [b[position] + s[position] for b, s in zip(_values(family, begin), _values(family, size), strict=False)]
    return ends == [shape[position] for shape in _shapes(family, source)]


def _shapes(family: Family, index: int) -> list[tuple[int, ...]]:
    return [flatbuffer.shape_of(tensor) for tensor in family.tensors(index)]


def _constant_along(values: list[Array], dims: dict[int, Varying]) -> bool:
    """Whether all models hold one value repeated along the dimensions that vary."""
    firsts = [value[tuple(slice(0, 1) if p in dims else slice(None) for p in range(value.ndim))] for value in values]
    same = all(np.array_equal(first, firsts[0]) for first in firsts)
    return same and all(
        np.array_equal(value, np.broadcast_to(first, value.shape)) for value, first in zip(values, firsts, strict=True)
    )


def _expanded(family: Family, builder: ShapeBuilder, index: int, value: Array, dims: dict[int, Varying]) -> int:
    """A constant of length 1 along the axes, broadcast to their lengths at run time."""
    if any(item.factor is None for item in dims.values()):
        raise DifferenceError(
            f"a constant has a dimension that is no multiple of the length of {next(iter(dims.values())).axes[0]!r}"
        )
    model, tensor = family.main, family.tensors(index)[0]
    fresh = flatbuffer.unused_names(model)
    first = value[tuple(slice(0, 1) if p in dims else slice(None) for p in range(value.ndim))]
    operands = [flatbuffer.add_constant(model, next(fresh), first), builder.vector(list(value.shape), dims, {})]
    return _resized(builder, _CODE.BROADCAST_TO, operands, schema.BroadcastToOptionsT(), tensor, dims)


def _cut(family: Family, builder: ShapeBuilder, operator: Any, position: int, dims: dict[int, Varying]) -> int | None:
    """The beginning of the longest form of a constant, as long as the axis is; None if longer forms begin otherwise."""
    if any(item.factor != 1 for item in dims.values()) or len({item.axes for item in dims.values()}) != 1:
        return None
    index, axes = int(operator.inputs[position]), next(iter(dims.values())).axes
    table = _longest(family, operator, position, axes[0]) if len(axes) == 1 else None
    values, tensor, model = _values(family, index), family.tensors(index)[0], family.main
    if table is None or not _all_begin_alike([*values, table]):
        return None
    fresh = flatbuffer.unused_names(model)
    begin = flatbuffer.add_constant(model, next(fresh), np.zeros(table.ndim, np.int32))
    size = builder.vector(list(values[0].shape), dims, {})
    operands = [flatbuffer.add_constant(model, next(fresh), table), begin, size]
    return _resized(builder, _CODE.SLICE, operands, schema.SliceOptionsT(), tensor, dims)


def _longest(family: Family, operator: Any, position: int, axis: str) -> Array | None:
    """The operand where the axis is longest; None if it is no constant there."""
    number = next(n for n, other in enumerate(family.main.subgraphs[0].operators) if other is operator)
    model = family.longest(axis)
    graph = model.subgraphs[0]
    tensor = graph.tensors[int(graph.operators[number].inputs[position])]
    values = flatbuffer.constant(model, tensor)
    return None if values is None else values.reshape(flatbuffer.shape_of(tensor))


def _all_begin_alike(values: list[Array]) -> bool:
    if len({value.ndim for value in values}) != 1:
        return False
    shortest = np.min([value.shape for value in values], axis=0)
    heads = [value[tuple(slice(0, n) for n in shortest)] for value in values]
    return all(np.array_equal(head, heads[0], equal_nan=head.dtype.kind == "f") for head in heads)


def _resized(
    builder: ShapeBuilder, code: int, operands: list[int], options: Any, like: Any, dims: dict[int, Varying]
) -> int:
    """A tensor like `like`, made at the front of the graph in the lengths of the axes."""
    model, shape = builder.family.main, list(flatbuffer.shape_of(like))
    output = flatbuffer.add_tensor(model, next(flatbuffer.unused_names(model)), shape, like.type)
    model.subgraphs[0].tensors[output].shapeSignature = _signature(shape, dims)
    builder.operators.append(flatbuffer.make_operator(model, code, operands, [output], options))
    return output


def _mark(family: Family, index: int) -> None:
    """-1 in the shape signature of a computed tensor whose shape follows an axis."""
    tensor = family.tensors(index)[0]
    dims = family.varying_dims(index)
    if dims and flatbuffer.constant(family.main, tensor) is None:
        tensor.shapeSignature = _signature(list(flatbuffer.shape_of(tensor)), dims)


def _signature(shape: list[int], dims: dict[int, Varying]) -> Array:
    return np.array([-1 if position in dims else n for position, n in enumerate(shape)], np.int32)


def _axis_in(program: Program, text: str) -> str | None:
    """The axis that a message quotes."""
    names = sorted(axes_by_name(program.dynamic_axes), key=len, reverse=True)
    return next((name for name in names if repr(name) in text), None)

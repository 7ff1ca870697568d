"""A rule about layer norm, which litert-torch writes as batch norm is defined: x * r + (0 - mean * r), with r = 1 / sqrt(variance + eps)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite.editing import Editing
from edgedl_tflite.graphs import GraphBuilder

_CODE = schema.BuiltinOperator
_NONE = schema.ActivationFunctionType.NONE


@dataclass(frozen=True)
class _Norm:
    """result: the ADD that gives the normalised values. source, epsilon: what it normalises along its last axis."""

    result: Any
    source: int
    epsilon: int


def normalised(edit: Editing, root: Any) -> bool:
    """(x - mean) * r, whose difference serves the variance too; on x before it was reshaped, if that kept the last axis."""
    norm = _norm(edit, root)
    if norm is None:
        return False
    reshape, output = edit.maker(norm.source, "RESHAPE"), int(norm.result.outputs[0])
    before = int(reshape.inputs[0]) if reshape is not None else norm.source
    source = before if edit.shape(before)[-1:] == edit.shape(norm.source)[-1:] else norm.source
    builder = edit.builder()
    if edit.shape(source) == edit.shape(output):
        _write(edit, builder, source, norm.epsilon, output)
    else:
        inner = builder.like(edit.graph.tensors[source])
        _write(edit, builder, source, norm.epsilon, inner)
        builder.reshape_into(inner, output)
    edit.replace(norm.result, builder.operators)
    return True


def _write(edit: Editing, builder: GraphBuilder, source: int, epsilon: int, output: int) -> None:
    centred = builder.difference(source, builder.mean_of_last(source))
    variance = builder.mean_of_last(builder.product(centred, centred))
    root = builder.unary(_CODE.RSQRT, builder.sum(variance, epsilon))
    builder.add(_CODE.MUL, [centred, root], [output], schema.MulOptionsT())


def _norm(edit: Editing, root: Any) -> _Norm | None:
    """The layer norm whose square root this is."""
    shifted = edit.maker(int(root.inputs[0]), "ADD")
    found = _with_number(edit, shifted)
    variance = edit.maker(found[0], "MEAN") if found else None
    squares = edit.maker(int(variance.inputs[0]), "SQUARED_DIFFERENCE") if variance is not None else None
    if found is None or variance is None or squares is None:
        return None
    source, mean = int(squares.inputs[0]), _unreshaped(edit, int(squares.inputs[1]))
    maker = edit.maker(mean, "MEAN")
    if maker is None or int(maker.inputs[0]) != source or not edit.is_float(source):
        return None
    if not all(_along_last(edit, each) for each in (maker, variance)):
        return None
    result = _result(edit, source, mean, int(root.outputs[0]))
    return None if result is None else _Norm(result, source, found[1])


def _result(edit: Editing, source: int, mean: int, root: int) -> Any | None:
    """The ADD of source * root and 0 - mean * root."""
    for product in _readers(edit, root):
        if not _is_product(edit, product, source, root):
            continue
        for result in edit.readers(int(product.outputs[0])):
            others = [int(i) for i in result.inputs if i != product.outputs[0]]
            if _is_plain(edit, result, "ADD") and len(others) == 1 and _is_shift(edit, others[0], mean, root):
                return result
    return None


def _is_shift(edit: Editing, index: int, mean: int, root: int) -> bool:
    """0 - mean * root, however reshaped."""
    negated = edit.maker(_unreshaped(edit, index), "SUB")
    zero = edit.constant(int(negated.inputs[0])) if negated is not None else None
    if negated is None or zero is None or zero.any() or not _is_plain(edit, negated, "SUB"):
        return False
    product = edit.maker(_unreshaped(edit, int(negated.inputs[1])), "MUL")
    return product is not None and _is_product(edit, product, mean, root)


def _is_product(edit: Editing, product: Any, *factors: int) -> bool:
    """A MUL of the factors, however reshaped."""
    found = [int(i) if int(i) in factors else _unreshaped(edit, int(i)) for i in product.inputs]
    return _is_plain(edit, product, "MUL") and sorted(found) == sorted(factors)


def _is_plain(edit: Editing, operator: Any, kind: str) -> bool:
    """Of the kind, with no activation function fused into it."""
    return edit.kind(operator) == kind and operator.builtinOptions.fusedActivationFunction == _NONE


def _readers(edit: Editing, index: int) -> list[Any]:
    """What reads a tensor, behind RESHAPEs too."""
    direct = edit.readers(index)
    behind = [_readers(edit, int(one.outputs[0])) for one in direct if edit.kind(one) == "RESHAPE"]
    return [*direct, *(one for each in behind for one in each)]


def _unreshaped(edit: Editing, index: int) -> int:
    while reshape := edit.maker(index, "RESHAPE"):
        index = int(reshape.inputs[0])
    return index


def _with_number(edit: Editing, operator: Any | None) -> tuple[int, int] | None:
    """(the computed operand, the number) of a sum."""
    if operator is None:
        return None
    for computed, number in (tuple(map(int, operator.inputs)), tuple(map(int, operator.inputs[::-1]))):
        value = edit.constant(number)
        if value is not None and value.size == 1:
            return computed, number
    return None


def _along_last(edit: Editing, mean: Any) -> bool:
    """Over the last axis, and no other of more than one element."""
    axes, shape = edit.constant(int(mean.inputs[1])), edit.shape(int(mean.inputs[0]))
    found = set() if axes is None else {int(axis) % len(shape) for axis in axes.reshape(-1)}
    return len(shape) - 1 in found and all(shape[axis] == 1 for axis in found if axis < len(shape) - 1)

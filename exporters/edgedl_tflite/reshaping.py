"""Rules about RESHAPE and TRANSPOSE: what follows from shapes and permutations alone."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite.editing import Editing

_CODE = schema.BuiltinOperator


def merged(edit: Editing, reshape: Any) -> bool:
    """A RESHAPE of a RESHAPE reads what that one reads."""
    source = int(reshape.inputs[0])
    inner = edit.maker(source, "RESHAPE")
    if inner is None:
        return False
    edit.rewire(reshape, source, int(inner.inputs[0]))
    return True


def composed(edit: Editing, transpose: Any) -> bool:
    """A TRANSPOSE of a TRANSPOSE is one."""
    source = int(transpose.inputs[0])
    inner = edit.maker(source, "TRANSPOSE")
    ours, theirs = _permutation(edit, transpose), _permutation(edit, inner)
    if inner is None or ours is None or theirs is None:
        return False
    builder = edit.builder()
    builder.transpose_into(int(inner.inputs[0]), [theirs[axis] for axis in ours], int(transpose.outputs[0]))
    edit.replace(transpose, builder.operators)
    return True


def without_effect(edit: Editing, operator: Any) -> bool:
    """A RESHAPE to the same shape, or a TRANSPOSE that moves nothing."""
    source, output = int(operator.inputs[0]), int(operator.outputs[0])
    if edit.kind(operator) == "TRANSPOSE":
        permutation = _permutation(edit, operator)
        moves = permutation is None or permutation != sorted(permutation)
    else:
        moves = edit.shape(source) != edit.shape(output)
    return not moves and edit.bypass(operator, source)


def only_reshapes(edit: Editing, transpose: Any) -> bool:
    """A TRANSPOSE that moves nothing but axes of length 1 is a RESHAPE."""
    source, output = int(transpose.inputs[0]), int(transpose.outputs[0])
    permutation = _permutation(edit, transpose)
    if permutation is None:
        return False
    long = [axis for axis in permutation if edit.shape(source)[axis] != 1]
    if long != sorted(long):
        return False
    builder = edit.builder()
    builder.reshape_into(source, output)
    edit.replace(transpose, builder.operators)
    return True


def behind_softmax(edit: Editing, softmax: Any) -> bool:
    """A RESHAPE that keeps the last axis comes after the SOFTMAX, where another one may undo it."""
    source, output = int(softmax.inputs[0]), int(softmax.outputs[0])
    reshape = edit.maker(source, "RESHAPE")
    if reshape is None or not edit.only_for(source, softmax):
        return False
    before = int(reshape.inputs[0])
    if edit.shape(before)[-1:] != edit.shape(source)[-1:]:
        return False
    builder = edit.builder()
    inner = builder.add(_CODE.SOFTMAX, [before], [builder.like(edit.graph.tensors[before])], softmax.builtinOptions)
    builder.reshape_into(inner, output)
    edit.replace(softmax, builder.operators)
    return True


def transposed_operand(edit: Editing, product: Any) -> bool:
    """The second operand of a BATCH_MATMUL whose last two axes were swapped before is read as it was, by `adjY`."""
    operand = int(product.inputs[1])
    source = _before_swap(edit, operand)
    if source is None or not edit.is_float(source):
        return False
    shape = [*edit.shape(operand)[:-2], *edit.shape(source)[-2:]]
    builder = edit.builder()
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = product.builtinOptions.adjX, not product.builtinOptions.adjY
    if list(edit.shape(source)) != shape:
        source = builder.reshape(source, shape)
    builder.add(_CODE.BATCH_MATMUL, [int(product.inputs[0]), source], [int(product.outputs[0])], options)
    edit.replace(product, builder.operators)
    return True


def _before_swap(edit: Editing, index: int) -> int | None:
    """What was there before a TRANSPOSE of the last two axes; RESHAPEs of the other axes may come after it."""
    while reshape := edit.maker(index, "RESHAPE"):
        source = int(reshape.inputs[0])
        if len(edit.shape(source)) < 2 or edit.shape(source)[-2:] != edit.shape(index)[-2:]:
            return None
        index = source
    transpose = edit.maker(index, "TRANSPOSE")
    permutation = _permutation(edit, transpose)
    if transpose is None or permutation is None or len(permutation) < 2:
        return None
    *others, last_but_one, last = range(len(permutation))
    return int(transpose.inputs[0]) if permutation == [*others, last, last_but_one] else None


def _permutation(edit: Editing, transpose: Any | None) -> list[int] | None:
    values = None if transpose is None else edit.constant(int(transpose.inputs[1]))
    return None if values is None else [int(axis) for axis in values]

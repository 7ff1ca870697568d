"""A rule about factors: what the product of a linear layer is multiplied by goes into the layer's weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite.editing import Editing

_NONE = schema.ActivationFunctionType.NONE
_PASSING = ("RESHAPE", "TRANSPOSE", "SLICE")
"""what moves values and computes none"""


def folded(edit: Editing, operator: Any) -> bool:
    """A product with one number, as of 1 / sqrt(width of a head), behind a layer that nothing else reads.

    Scales of int8 weights take the factor, so that the integers of a quantized file stay the same.
    """
    found = _factor(edit, operator)
    if found is None or int(operator.outputs[0]) in edit.outputs:
        return False
    source, factor = found
    layer = _layer(edit, source, operator)
    if layer is None:
        return False
    _scale(edit, layer, factor)
    return edit.bypass(operator, source)


def _factor(edit: Editing, operator: Any) -> tuple[int, np.float32] | None:
    """(the other operand, the number) of a product with a number, or of a quotient by one."""
    if operator.builtinOptions.fusedActivationFunction != _NONE:
        return None
    is_quotient = edit.kind(operator) == "DIV"
    for number, other in ((1, 0),) if is_quotient else ((1, 0), (0, 1)):
        value, source = edit.constant(int(operator.inputs[number])), int(operator.inputs[other])
        fits = edit.is_float(source) and edit.shape(source) == edit.shape(int(operator.outputs[0]))
        if value is not None and value.size == 1 and fits:
            factor = np.float32(value.reshape(()))
            return source, np.float32(1) / factor if is_quotient else factor
    return None


def _layer(edit: Editing, index: int, reader: Any) -> Any | None:
    """The FULLY_CONNECTED that a tensor comes from linearly, where each step on the way has one reader."""
    if not edit.only_for(index, reader):
        return None
    if passing := edit.maker(index, *_PASSING):
        return _layer(edit, int(passing.inputs[0]), passing)
    if product := edit.maker(index, "BATCH_MATMUL"):
        return _layer(edit, int(product.inputs[0]), product) or _layer(edit, int(product.inputs[1]), product)
    layer = edit.maker(index, "FULLY_CONNECTED")
    return layer if layer is not None and edit.has_plain_weights(layer) and _is_linear(layer) else None


def _is_linear(layer: Any) -> bool:
    return bool(layer.builtinOptions.fusedActivationFunction == _NONE)


def _scale(edit: Editing, layer: Any, factor: np.float32) -> None:
    for index in {int(i) for i in layer.inputs[1:] if i >= 0}:
        values = edit.constant(index)
        assert values is not None
        edit.rewire(layer, index, edit.stored((values * factor).astype(np.float32)))

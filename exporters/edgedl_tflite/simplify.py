"""A converted graph rewritten into one that computes the same with fewer and cheaper operators.

litert-torch writes attention and layer norm as torch decomposes them: packed weights whose product is cut apart, factors of their
own, transposes behind transposes. What each rule saves: docs/decisions/0069-simpler-tflite-graphs.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgedl_tflite import prune
from edgedl_tflite.editing import Editing
from edgedl_tflite.masking import added
from edgedl_tflite.norms import normalised
from edgedl_tflite.packed import unpacked
from edgedl_tflite.reshaping import behind_softmax, composed, merged, only_reshapes, transposed_operand, without_effect
from edgedl_tflite.scaling import folded

Rule = Callable[[Editing, Any], bool]
"""Rewrite around an operator; whether it did."""

RULES: dict[str, tuple[Rule, ...]] = {
    "RESHAPE": (merged, without_effect),
    "TRANSPOSE": (composed, without_effect, only_reshapes),
    "SOFTMAX": (behind_softmax,),
    "BATCH_MATMUL": (transposed_operand,),
    "RSQRT": (normalised,),
    "FULLY_CONNECTED": (unpacked,),
    "SELECT_V2": (added,),
    "MUL": (folded,),
    "DIV": (folded,),
}
"""operator -> what is tried on it; each leaves fewer operators or operands behind, so that this ends"""


def simplify(model: Any) -> None:
    """Edit the main graph of a ModelT of fixed shapes; the names of inputs, outputs and layers stay."""
    edit = Editing(model)
    while _pass(edit):
        pass
    edit.finish()
    prune.prune(model)


def _pass(edit: Editing) -> bool:
    changed = False
    for operator in edit.operators.copy():
        for rule in RULES.get(edit.kind(operator), ()):
            if edit.has(operator):
                changed |= rule(edit, operator)
    return edit.sweep() or changed

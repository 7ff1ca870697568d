"""A rule about masks: a SELECT of minus infinity by a constant mask, which XNNPACK does not compute, is a sum that it does.

No integers have a scale for such sums: `unbounded` names what stays in float for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer
from edgedl_tflite.editing import Editing

_CODE = schema.BuiltinOperator
_LOWEST = -1e30
"""From here on down, a sum with any score of a size below 1e22 rounds to the number itself."""
_MOST = 1 << 18
"""Elements of a mask, whose floats take a megabyte then."""
_SHARE = 0.05
"""What these floats may take of all constants: a small file stays small"""


def added(edit: Editing, select: Any) -> bool:
    """Of scores that a SOFTMAX reads: minus infinity where they are masked and 0 elsewhere, as a constant to be added."""
    output = int(select.outputs[0])
    mask = edit.constant(int(select.inputs[0]))
    if mask is None or mask.size > _MOST or edit.only_reader(output, "SOFTMAX") is None:
        return False
    if 4 * mask.size > _SHARE * sum(len(buffer.data) for buffer in edit.model.buffers if buffer.data is not None):
        return False
    for number, other, hidden in ((1, 2, mask), (2, 1, ~mask)):
        value, scores = edit.constant(int(select.inputs[number])), int(select.inputs[other])
        if value is None or value.size != 1 or value.reshape(()) > _LOWEST:
            continue
        if edit.constant(scores) is None and edit.is_float(scores) and edit.shape(scores) == edit.shape(output):
            builder = edit.builder()
            terms = edit.stored(np.where(hidden, value.reshape(()), 0).astype(np.float32))
            builder.add(_CODE.ADD, [scores, terms], [output], schema.AddOptionsT())
            edit.replace(select, builder.operators)
            return True
    return False


def unbounded(model: Any) -> Iterator[str]:
    """The names of what such sums and the SOFTMAX behind each compute."""
    edit = Editing(model)
    for operator in edit.operators:
        terms = (
            [edit.constant(index) for index in flatbuffer.numbers(operator.inputs)]
            if edit.kind(operator) == "ADD"
            else []
        )
        if any(values is not None and values.min(initial=0) <= _LOWEST for values in terms):
            output = int(operator.outputs[0])
            for index in (output, *(int(reader.outputs[0]) for reader in edit.readers(output))):
                yield flatbuffer.text(edit.graph.tensors[index].name)

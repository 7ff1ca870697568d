"""Which integers an input may hold: those that choose rows of a table have to be within it."""

from __future__ import annotations

import onnx

from edgedl_onnx.canonical import nodes

_PASSING = {
    "Cast",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Transpose",
    "Slice",
    "Expand",
    "Tile",
    "Dropout",
}
"""What hands integers on as they are."""


def id_ranges(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """Return, by input, the smallest and largest index of the smallest table that it chooses from."""
    rows = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    origin = {value.name: value.name for value in model.graph.input}
    found: dict[str, tuple[int, int]] = {}
    for node in nodes(model):
        if node.op_type in _PASSING and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type == "Gather" and node.input[1] in origin and node.input[0] in rows and rows[node.input[0]]:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            last = int(rows[node.input[0]][axis]) - 1
            source = origin[node.input[1]]
            found[source] = (0, min(last, found.get(source, (0, last))[1]))
    return found

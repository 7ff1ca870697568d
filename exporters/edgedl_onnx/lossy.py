"""The operators of an ONNX graph that stay in float because one integer scale would lose a part of their result."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

import onnx

from edgedl.exporter import Calibration, FloatRegion
from edgedl.formats import rounding_loss
from edgedl.formats.rounding_loss import BATCHES, Operator, spreads, watched
from edgedl_onnx.layers import layer_name, layer_nodes, nodes_called
from edgedl_onnx.observe import Observer

_JOINS = ("Concat", "Where", "ScatterND", "ScatterElements")
_MOVES = (
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather", "GatherElements", "Identity",
    "Expand", "Tile", "DepthToSpace", "SpaceToDepth", *_JOINS,
)  # fmt: skip


def float_regions(
    model: onnx.ModelProto, quantized: Collection[str], calibration: Calibration, levels: int, rounds_all: bool
) -> tuple[FloatRegion, ...]:
    """quantized: the types of operators that become integers. levels: integer steps of a range. rounds_all: results too, not inputs alone."""
    operators = list(_operators(model, quantized, rounds_all))
    names = watched(operators)
    if not names:
        return ()
    seen = spreads(Observer(model, names).values(lambda: islice(calibration(), BATCHES)))
    return tuple(rounding_loss.float_regions(operators, seen, levels))


def kept_nodes(model: onnx.ModelProto, regions: tuple[FloatRegion, ...]) -> list[str]:
    """The names of the nodes in the regions, which call layers by their own names."""
    found = tuple(rounding_loss.names(regions))
    return list(dict.fromkeys((*found, *nodes_called(model, found))))


def _operators(model: onnx.ModelProto, quantized: Collection[str], rounds_all: bool) -> Iterator[Operator]:
    constants = {tensor.name for tensor in model.graph.initializer}
    layers = {node.output[0] for node in layer_nodes(model)}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update(node.output)
            continue
        is_layer = node.output[0] in layers and node.op_type in quantized
        yield Operator(
            layer_name(node) if is_layer else node.name,
            tuple(name for name in node.input if name and name not in constants),
            tuple(filter(None, node.output)),
            is_layer, node.op_type in _JOINS, node.op_type in _MOVES, rounds_all and node.op_type in quantized,
        )  # fmt: skip

"""The operators of a TFLite graph that stay in float because one integer scale would lose a part of their result."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl.exporter import FloatRegion
from edgedl.formats import rounding_loss
from edgedl.formats.rounding_loss import BATCHES, Operator, spreads, watched
from edgedl.spec import Array
from edgedl_tflite import flatbuffer
from edgedl_tflite.layers import QUANTIZABLE
from edgedl_tflite.observe import values

_JOINS = ("CONCATENATION", "PACK", "SELECT", "SELECT_V2", "DYNAMIC_UPDATE_SLICE", "SCATTER_ND")
_MOVES = (
    "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT", "UNPACK", "GATHER", "GATHER_ND",
    "BROADCAST_TO", "TILE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "PAD", *_JOINS,
)  # fmt: skip
_STEPS = {"LOGISTIC": 1 / 256, "SOFTMAX": 1 / 256, "TANH": 1 / 128}
"""operator -> the one int8 step that its kernel knows"""


RESULTS, LAYERS, INPUTS = "results", "layers", "inputs"
"""What a scheme rounds: the results of all operators, those of layers, or the inputs of layers alone."""


def float_regions(
    model: Any, feeds: list[dict[str, Array]], levels: int, rounded: str = RESULTS
) -> tuple[FloatRegion, ...]:
    """For a float ModelT. levels: integer steps of a range. rounded: RESULTS, LAYERS or INPUTS."""
    operators = list(_operators(model, levels, rounded))
    names = watched(operators)
    if not names:
        return ()
    seen = spreads(values(model, islice(feeds, BATCHES), names))
    return tuple(rounding_loss.float_regions(operators, seen, levels))


def _operators(model: Any, levels: int, rounded: str) -> Iterator[Operator]:
    graph = model.subgraphs[0]
    for operator in graph.operators or []:
        kind = flatbuffer.operator_name(model, operator)
        inputs = [graph.tensors[i] for i in flatbuffer.numbers(operator.inputs) if i >= 0]
        outputs = [graph.tensors[i] for i in flatbuffer.numbers(operator.outputs)]
        names = tuple(flatbuffer.text(tensor.name) for tensor in outputs)
        computed = (tensor for tensor in inputs if flatbuffer.constant(model, tensor) is None)
        is_layer = kind in QUANTIZABLE
        rounds = (rounded == RESULTS or (is_layer and rounded == LAYERS)) and all(
            t.type == schema.TensorType.FLOAT32 for t in outputs
        )
        yield Operator(
            ";".join(names), tuple(flatbuffer.text(tensor.name) for tensor in computed), names,
            is_layer, kind in _JOINS, kind in _MOVES, rounds, _STEPS.get(kind) if levels == 255 else None,
        )  # fmt: skip

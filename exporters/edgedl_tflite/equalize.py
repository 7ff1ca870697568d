"""Cross-layer equalisation: channels of consecutive layers get the same range, and the network computes the same."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl import balance
from edgedl_tflite import flatbuffer
from edgedl_tflite.linear import Linear, linears

_LINEAR = ("RELU", "PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN")
"""f(s x) = s f(x) for s > 0, channel by channel. Not RELU6: it bends at six, whatever the scale."""
_FUSED = (schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU)


def equalize(model: Any) -> int:
    """Edit the weights and biases of `model`; returns how many pairs of layers were balanced."""
    return balance.equalize(_pairs(model))


def _pairs(model: Any) -> list[tuple[Linear, Linear]]:
    """Layers of which one reads nothing but the other's output, with positively homogeneous operators between."""
    layers = list(linears(model))
    by_output = {int(layer.operator.outputs[0]): layer for layer in layers}
    found = []
    for first in (layer for layer in layers if layer.activation in _FUSED):
        reader = _only_reader(model, first.operator)
        while reader is not None and flatbuffer.operator_name(model, reader) in _LINEAR:
            reader = _only_reader(model, reader)
        second = by_output.get(int(reader.outputs[0])) if reader is not None else None
        if second is not None and len(first.by_output()) == len(second.by_input()) and _one_each(second):
            found.append((first, second))
    return found


def _only_reader(model: Any, operator: Any) -> Any | None:
    """The operator that alone reads the output, as its first operand."""
    graph, output = model.subgraphs[0], int(operator.outputs[0])
    readers = [o for o in graph.operators if output in flatbuffer.numbers(o.inputs)]
    alone = len(readers) == 1 and output not in flatbuffer.numbers(graph.outputs)
    return readers[0] if alone and int(readers[0].inputs[0]) == output else None


def _one_each(layer: Linear) -> bool:
    """Not a depthwise convolution that makes several channels of one."""
    return layer.kind != "DEPTHWISE_CONV_2D" or layer.operator.builtinOptions.depthMultiplier in (0, 1)

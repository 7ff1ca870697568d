"""Cross-layer equalisation: channels of consecutive layers get the same range, and the network computes the same."""

from __future__ import annotations

import numpy as np
import onnx

from edgedl import balance
from edgedl_onnx.linear import Linear, linears

_LINEAR = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Identity")
"""f(s x) = s f(x) for s > 0, channel by channel. Not Clip: a ReLU6 bends at six, whatever the scale."""


def equalize(model: onnx.ModelProto) -> int:
    """Edit the weights and biases of `model`; returns how many pairs of layers were balanced."""
    return balance.equalize(_pairs(model))


def _pairs(model: onnx.ModelProto) -> list[tuple[Linear, Linear]]:
    """Layers of which one reads nothing but the other's output, with positively homogeneous operators between."""
    by_name = {linear.node.name: linear for linear in linears(model)}
    outputs = {value.name for value in model.graph.output}
    found = []
    for first in by_name.values():
        node = first.node
        while (reader := _only_reader(model, node, outputs)) is not None and reader.op_type in _LINEAR:
            node = reader
        second = by_name.get(reader.name) if reader is not None else None
        if second is not None and reader is not None and reader.input[0] == node.output[0] and _fit(first, second):
            found.append((first, second))
    return found


def _only_reader(model: onnx.ModelProto, node: onnx.NodeProto, outputs: set[str]) -> onnx.NodeProto | None:
    readers = [reader for reader in model.graph.node if node.output[0] in reader.input]
    return readers[0] if len(readers) == 1 and node.output[0] not in outputs else None


def _fit(first: Linear, second: Linear) -> bool:
    """A bias that is computed cannot be scaled; a flattened image has several inputs for each channel."""
    scalable = first.bias is not None or len(first.node.input) < 3
    known = not second.grouped or second.depthwise
    return scalable and known and len(first.by_output()) == len(second.by_input()) and bool(np.prod(first.weight.dims))

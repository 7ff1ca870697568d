"""Removing from a ModelT what no operator needs any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgedl_tflite import flatbuffer


def prune(model: Any) -> None:
    """Drop the unused tensors of the main graph, the data that no tensor has and the unused operator codes; edits `model`.

    A tensor that is left over would keep its data in the file after its user got a quantized copy; engines refuse a
    file with an operator code that they do not know, used or not.
    """
    _prune_tensors(model)
    _prune_buffers(model)
    _prune_codes(model)


def _prune_tensors(model: Any) -> None:
    graph = model.subgraphs[0]
    used = {*flatbuffer.numbers(graph.inputs), *flatbuffer.numbers(graph.outputs)}
    for operator in graph.operators:
        used.update(flatbuffer.numbers(operator.inputs), flatbuffer.numbers(operator.outputs))
    kept = [index for index in range(len(graph.tensors)) if index in used]
    moved = {-1: -1} | {old: new for new, old in enumerate(kept)}
    graph.tensors = [graph.tensors[index] for index in kept]
    for holder in (graph, *graph.operators):
        holder.inputs, holder.outputs = _mapped(holder.inputs, moved), _mapped(holder.outputs, moved)
    for signature in model.signatureDefs or []:
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
            entry.tensorIndex = moved[entry.tensorIndex]


def _prune_buffers(model: Any) -> None:
    """Empty buffers keep their numbers."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used.update(entry.buffer for entry in model.metadata or [])
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None


def _mapped(indices: Any, moved: Mapping[int, int]) -> Any:
    return np.array([moved[index] for index in flatbuffer.numbers(indices)], np.int32)


def _prune_codes(model: Any) -> None:
    operators = [operator for graph in model.subgraphs for operator in graph.operators or []]
    used = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)

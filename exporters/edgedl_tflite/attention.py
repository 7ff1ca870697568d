"""Whether a graph is a transformer, in most of which integers with static ranges do not pay."""

from __future__ import annotations

from typing import Any

from edgedl_tflite import flatbuffer
from edgedl_tflite.describe import operator_macs


def attends(model: Any) -> bool:
    """It has a softmax and a product of two computed tensors, and convolutions are less than half of its work."""
    graph = model.subgraphs[0]
    kinds = [flatbuffer.operator_name(model, operator) for operator in graph.operators or []]
    products = (o for o, kind in zip(graph.operators or [], kinds, strict=True) if kind == "BATCH_MATMUL")
    computed = any(all(_is_computed(model, index) for index in flatbuffer.numbers(o.inputs)) for o in products)
    return "SOFTMAX" in kinds and computed and convolutions(model) < 0.5


def convolutions(model: Any) -> float:
    """Their share of the multiply-accumulates of the main graph."""
    graph = model.subgraphs[0]
    costs = [(flatbuffer.operator_name(model, o), operator_macs(model, graph, o) or 0) for o in graph.operators or []]
    return sum(cost for name, cost in costs if "CONV" in name) / max(sum(cost for _, cost in costs), 1)


def _is_computed(model: Any, index: int) -> bool:
    return flatbuffer.constant(model, model.subgraphs[0].tensors[index]) is None

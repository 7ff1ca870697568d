"""Schemes that would cost accuracy or time and bring nothing, for one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedl.schemes import Scheme
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import loop_graphs, loop_macs, macs, operator_macs, operators, weight_tensors
from edgedl_tflite.layers import QUANTIZABLE

_PAYS_FROM = {1: 192, 3: 128, 4: 128}
"""gates (RNN, GRU, LSTM) -> hidden size from which int8 is faster. One thread, AVX512-VNNI, 50 steps: LSTM 32 0.72x, 64 0.94x,
128 1.16x; GRU 0.70x, 0.91x, 1.12x; RNN 128 0.98x, 256 1.28x."""
_INTEGER = ("int8", "uint8", "int4", "int16", "float16")


def objection(source: Path, scheme: Scheme) -> str | None:
    """Why `scheme` is a bad choice for the file, with a better one; None if nothing speaks against it."""
    model = read_checked(source)
    found = operators(model)
    if already := sorted({flatbuffer.TYPE_NAMES[t.type] for t, _ in weight_tensors(model)} & set(_INTEGER)):
        return f"its weights are {already[0]} already: quantize the fp32 file"
    if not any(name in found for name in QUANTIZABLE):
        return (
            f"it has no operator that {scheme.name} makes smaller or faster ({', '.join(found) or 'none'}): keep fp32"
        )
    if scheme.name == "w8a16":
        return "LiteRT's CPU kernels for 16-bit activations are over 20 times slower than float: use --scheme w8a8"
    if scheme.name == "w4" and _convolutions(model) > 0.5:
        return "its work is mostly convolutions, and 4-bit weights are for linear layers alone: use --scheme w8a8"
    if scheme.activations == "int8" and (small := _small_loops(model)):
        return f"int8 is slower than float in its recurrent layers of {small} hidden units: use --scheme w8"
    return None


def _convolutions(model: Any) -> float:
    """Their share of the multiply-accumulates of the main graph."""
    graph = model.subgraphs[0]
    costs = [(flatbuffer.operator_name(model, o), operator_macs(model, graph, o) or 0) for o in graph.operators or []]
    return sum(cost for name, cost in costs if "CONV" in name) / max(sum(cost for _, cost in costs), 1)


def _small_loops(model: Any) -> int:
    """The largest hidden size, where recurrent layers do most of the work and are too small for int8; else 0."""
    graph = model.subgraphs[0]
    loops = sum(loop_macs(model, graph, o) or 0 for o in graph.operators or [] if loop_graphs(model, o))
    inside = {index for o in graph.operators or [] for index in loop_graphs(model, o)}
    shapes = [shape for index in inside for shape in _recurrent_weights(model, model.subgraphs[index])]
    paying = any(hidden >= _PAYS_FROM.get(gates_hidden // hidden, 128) for gates_hidden, hidden in shapes)
    most = 2 * loops > (macs(model) or 0)
    return 0 if paying or not most else max((hidden for _, hidden in shapes), default=0)


def _recurrent_weights(model: Any, graph: Any) -> list[tuple[int, int]]:
    """(gates x hidden, hidden) of the matrix products of a loop's step."""
    products = [o for o in graph.operators or [] if flatbuffer.operator_name(model, o) == "FULLY_CONNECTED"]
    shapes = [flatbuffer.shape_of(graph.tensors[o.inputs[1]]) for o in products]
    return [(shape[0], shape[1]) for shape in shapes if len(shape) == 2]

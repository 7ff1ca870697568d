"""Schemes that would cost accuracy or time and bring nothing, for one ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgedl.schemes import Scheme
from edgedl_onnx import gru
from edgedl_onnx.describe import macs_by_operator
from edgedl_onnx.graph import read, weights

STEP_PAYS_FROM, SEQUENCE_PAYS_FROM = 192, 128
"""Hidden size from which an LSTM is faster in int8, for one step and for a sequence. One thread, AVX512-VNNI: one step of 64
0.78x, 128 0.89x, 256 3.3x; 50 steps of 32 0.51x, 64 0.69x, 96 0.75x; two bidirectional layers of 128 1.6x."""


def objection(source: Path, scheme: Scheme) -> str | None:
    model = read(source)
    if not any(True for _ in weights(model)):
        return f"{source.name} has no float weights to quantize"
    if scheme.name == "w8a16":
        return (
            "ONNX Runtime has no CPU kernels for 16-bit activations and runs them slower than float; use --scheme w8a8"
        )
    costs = macs_by_operator(model) or {}
    work = sum(costs.values())
    for operators, why in _OBJECTIONS.get(scheme.name, {}).items():
        share = sum(costs.get(name, 0) for name in operators) / max(work, 1)
        if share > 0.5 and not any(gru.pays(node) for node in model.graph.node if scheme.name == "w8a8-dynamic"):
            return f"{' and '.join(operators)} do {share:.0%} of the work of {source.name}, and {why}"
    mostly_lstm = 2 * costs.get("LSTM", 0) > work
    if scheme.name == "w8a8-dynamic" and mostly_lstm and (small := _small_lstm(model)):
        return f"int8 is slower than float in LSTMs of {small} hidden units; use --scheme w8"
    return None


def _small_lstm(model: onnx.ModelProto) -> int:
    """The largest hidden size of the LSTMs, where all of them are too small for int8; else 0."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    dims = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.value_info)}
    sizes = {}
    for node in (node for node in graph.node if node.op_type == "LSTM"):
        one_step = node.input[0] in dims and dims[node.input[0]][0].dim_value == 1
        sizes[gru.hidden_size(node)] = STEP_PAYS_FROM if one_step else SEQUENCE_PAYS_FROM
    return 0 if any(hidden >= pays_from for hidden, pays_from in sizes.items()) else max(sizes, default=0)


_OBJECTIONS: dict[str, dict[tuple[str, ...], str]] = {
    "w8a8-dynamic": {
        ("Conv", "ConvTranspose"): "ONNX Runtime runs them slower than float under w8a8-dynamic; use --scheme w8a8",
        (
            "GRU",
            "RNN",
        ): f"int8 pays for a GRU from a hidden size of {gru.PAYS_FROM} and never for an RNN; use --scheme w8",
    },
    "w4": {
        ("Conv", "ConvTranspose"): "4-bit weights are for linear layers alone; use --scheme w8a8",
        ("LSTM", "GRU", "RNN"): "4-bit weights are for linear layers alone; use --scheme w8a8-dynamic or w8",
    },
    "w8a8": {
        ("LSTM",): "static quantization leaves it in float; use --scheme w8a8-dynamic",
        ("GRU", "RNN"): "static quantization leaves them in float; use --scheme w8",
    },
}
"""scheme -> operators that should not do most of the work, and why"""

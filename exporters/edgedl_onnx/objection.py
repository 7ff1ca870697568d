"""Schemes that would cost accuracy or time and bring nothing, for one ONNX file."""

from __future__ import annotations

from pathlib import Path

from edgedl.schemes import Scheme
from edgedl_onnx import gru
from edgedl_onnx.describe import macs_by_operator
from edgedl_onnx.graph import read, weights


def objection(source: Path, scheme: Scheme) -> str | None:
    model = read(source)
    if not any(True for _ in weights(model)):
        return f"{source.name} has no float weights to quantize"
    if scheme.name == "w8a16":
        return "ONNX Runtime has no CPU kernels for 16-bit activations and runs them slower than float"
    costs = macs_by_operator(model) or {}
    work = sum(costs.values())
    for operators, why in _OBJECTIONS.get(scheme.name, {}).items():
        share = sum(costs.get(name, 0) for name in operators) / max(work, 1)
        if share > 0.5 and not any(gru.pays(model, node) for node in model.graph.node if scheme.name == "w8a8-dynamic"):
            return f"{' and '.join(operators)} do {share:.0%} of the work of {source.name}, and {why}"
    return None


_OBJECTIONS: dict[str, dict[tuple[str, ...], str]] = {
    "w8a8-dynamic": {
        ("Conv", "ConvTranspose"): "w8a8-dynamic leaves them in float, where ONNX Runtime is faster",
        (
            "GRU",
            "RNN",
        ): f"int8 pays for a GRU from a hidden size of {gru.PAYS_FROM} and never for an RNN",
    },
    "w4": {
        ("Conv", "ConvTranspose"): "4-bit weights are for linear layers alone",
        ("LSTM", "GRU", "RNN"): "4-bit weights are for linear layers alone",
    },
    "w8a8": {
        ("LSTM",): "static quantization leaves it in float",
        ("GRU", "RNN"): "static quantization leaves them in float",
    },
}
"""scheme -> operators that should not do most of the work, and why"""

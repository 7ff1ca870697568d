"""Schemes that would cost accuracy or time and bring nothing, for one file."""

from __future__ import annotations

from pathlib import Path

from edgedl.schemes import Scheme
from edgedl_tflite import flatbuffer
from edgedl_tflite.attention import convolutions
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import operators, weight_tensors
from edgedl_tflite.layers import QUANTIZABLE

_INTEGER = ("int8", "uint8", "int4", "int16", "float16")


def objection(source: Path, scheme: Scheme) -> str | None:
    """Why `scheme` is a bad choice for the file; None if nothing speaks against it."""
    model = read_checked(source)
    found = operators(model)
    if already := sorted({flatbuffer.TYPE_NAMES[t.type] for t, _ in weight_tensors(model)} & set(_INTEGER)):
        return f"its weights are {already[0]} already: quantize the fp32 file"
    if not any(name in found for name in QUANTIZABLE):
        return (
            f"it has no operator that {scheme.name} makes smaller or faster ({', '.join(found) or 'none'}): keep fp32"
        )
    if scheme.name == "w8a16":
        return "LiteRT's CPU kernels for 16-bit activations are over 20 times slower than float"
    if scheme.name == "w4" and convolutions(model) > 0.5:
        return "its work is mostly convolutions, and 4-bit weights are for linear layers alone"
    return None

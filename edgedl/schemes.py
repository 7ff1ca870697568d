"""Quantization schemes: how numbers are stored, by names with a decoder.

A name reads `w<bits>[a<bits>][-dynamic]`: the bits of the weights, the bits of the activations, and whether the
activations' ranges are taken at run time (`-dynamic`) instead of from calibration data. `w8` alone stores weights
in 8 bits and computes in float.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgedl.errors import UnknownName


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its reference before the gate closes.

    relative_rms: rms(output - reference) / rms(reference), no unit; of an output and of each of its parts.
    max_drop: the largest loss of the task's score that passes, in the score's own unit.
    least_match: of an encoder-decoder, the share of decoded sequences that must be the reference's, token for token.
    variation: rms(output - reference) / rms(what varies in the reference with the input), beyond the noise of float arithmetic.
    constant: a reference that does not depend on its input passes.
    """

    relative_rms: float
    max_drop: float
    least_match: float = 0.5
    variation: float = 0.5
    constant: bool = False


@dataclass(frozen=True)
class Scheme:
    """How the weights and the activations of an artifact are stored.

    weights, activations: a dtype name. needs_calibration: ranges come from data. suits: where the scheme pays.
    """

    name: str
    weights: str
    activations: str
    needs_calibration: bool
    tolerance: Tolerance
    suits: str


_ALL = (
    Scheme("fp32", "float32", "float32", False, Tolerance(1e-4, 0.001, 0.99, 0.02), "the reference; any engine"),
    Scheme(
        "fp16",
        "float16",
        "float32",
        False,
        Tolerance(5e-3, 0.002, variation=0.1),
        "half the bytes, float speed; any engine",
    ),
    Scheme(
        "w8",
        "int8",
        "float32",
        False,
        Tolerance(0.1, 0.01, variation=0.3),
        "a quarter of the bytes, float speed; flash-bound devices",
    ),
    Scheme(
        "w4",
        "int4",
        "float32",
        False,
        Tolerance(0.3, 0.01, variation=0.6),
        "an eighth of the bytes of large linear layers: language models",
    ),
    Scheme(
        "w8a8-dynamic",
        "int8",
        "int8",
        False,
        Tolerance(0.15, 0.01),
        "LSTM, transformers and MLP on CPUs; CNN in LiteRT",
    ),
    Scheme("w8a8", "int8", "int8", True, Tolerance(0.2, 0.01), "CNN on CPUs with VNNI or dot product, NPUs"),
    Scheme(
        "w8a16",
        "int8",
        "int16",
        True,
        Tolerance(0.1, 0.01, variation=0.3),
        "NPUs with 16-bit activations; slower than float on CPUs",
    ),
    Scheme(
        "bf16",
        "bfloat16",
        "bfloat16",
        False,
        Tolerance(0.05, 0.005, variation=0.2),
        "CPUs with AMX or bfloat16 arithmetic: no kernels in ONNX Runtime's CPU or in LiteRT",
    ),
)
SCHEMES = {scheme.name: scheme for scheme in _ALL}


def scheme(name: str) -> Scheme:
    """The scheme called `name`; UnknownName with the nearest one otherwise."""
    if name not in SCHEMES:
        raise UnknownName("scheme", name, SCHEMES)
    return SCHEMES[name]

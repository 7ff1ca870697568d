"""ONNX quantization: what each scheme is carried out by.

Figures behind the choices: docs/decisions/0003-onnx-quantization.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgedl.exporter import Calibration, FloatRegion, QuantizationOptions
from edgedl.schemes import Scheme
from edgedl_onnx import blockwise, dynamic, static, weight_only
from edgedl_onnx.layers import layers

Work = Callable[[Path, Calibration | None, Path, QuantizationOptions], tuple[FloatRegion, ...] | None]

_BY_SCHEME: dict[str, Work] = {
    "w8a8": static.int8,
    "w8a16": static.int16,
    "w8a8-dynamic": dynamic.quantize,
    "w8": weight_only.int8,
    "w4": blockwise.quantize,
    "fp16": weight_only.float16,
}
_STATIC = ("calibrator", "bias_correction", "equalize", "smooth", "keep_float", "narrow", "per_channel")
_OPTIONS = {
    "w8a8": (*_STATIC, "wide"),
    "w8a16": _STATIC,
    "w4": ("keep_float",),
    "w8a8-dynamic": ("keep_float", "narrow", "per_channel"),
    "w8": ("keep_float", "per_channel"),
    "fp16": ("keep_float",),
}
"""scheme -> the options that it carries out"""


def quantize(
    source: Path, scheme: Scheme, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> tuple[FloatRegion, ...]:
    """Write `source` under `scheme` to `path`, one self-contained file with the same inputs and outputs.

    Returns what stays in float unasked, because integers would lose it.

    Unsupported for an option that the scheme has no use for, UnknownName for a layer that is not there.
    """
    options.check(f"{scheme.name} in ONNX", _OPTIONS[scheme.name], lambda: layers(source))
    return _BY_SCHEME[scheme.name](source, calibration, path, options) or ()

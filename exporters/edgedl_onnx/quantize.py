"""ONNX quantization: what each scheme is carried out by.

Figures behind the choices: docs/decisions/0003-onnx-quantization.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx

from edgedl.exporter import Calibration, FloatRegion, QuantizationOptions
from edgedl.schemes import Scheme
from edgedl_onnx import blockwise, dynamic, gru, static, weight_only
from edgedl_onnx.canonical import drop_unread
from edgedl_onnx.graph import read
from edgedl_onnx.layers import layers
from edgedl_onnx.upgrade import in_float32, upgraded

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
_OPSETS = {"w8a8": 13, "w8a16": 13, "w8a8-dynamic": 13}
"""scheme -> the first opset that has what it is carried out by; 7 for all others, which has broadcasting"""
_SCAN_OPSET = 18
"""The first opset that has what a GRU is rewritten to"""


def quantize(
    source: Path, scheme: Scheme, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> tuple[FloatRegion, ...]:
    """Write `source` under `scheme` to `path`, one self-contained file with the same inputs and outputs.

    Returns what stays in float unasked, because integers would lose it.

    Unsupported for an option that the scheme has no use for, UnknownName for a layer that is not there.
    """
    options = options.check(
        f"{scheme.name} in ONNX", _OPTIONS[scheme.name], lambda: layers(source),
        lambda: static.operators(source) if scheme.needs_calibration else (),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / source.name
        model = _prepared(read(source), scheme)
        outputs = _without_passed_inputs(model)
        onnx.save(model, str(ready))
        regions = _BY_SCHEME[scheme.name](ready, calibration, path, options)
    written = read(path)
    if scheme.activations != "float32":
        weight_only.narrow_inner(written, options)
    _restore_outputs(written, outputs)
    drop_unread(written)
    onnx.save(written, str(path))
    return regions or ()


def _without_passed_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Take out the outputs that are inputs, which onnxruntime's quantizer takes for a circle; returns all outputs."""
    outputs, inputs = list(model.graph.output), {value.name for value in model.graph.input}
    del model.graph.output[:]
    model.graph.output.extend(value for value in outputs if value.name not in inputs)
    return outputs


def _restore_outputs(model: onnx.ModelProto, outputs: list[onnx.ValueInfoProto]) -> None:
    written = {value.name: value for value in model.graph.output}
    if len(written) < len(outputs):
        ordered = [written.get(value.name, value) for value in outputs]
        del model.graph.output[:]
        model.graph.output.extend(ordered)


def _prepared(model: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    """The model in the opset that the scheme's operators need, and in float32 if it is to be narrower than half precision."""
    scans = scheme.name == "w8a8-dynamic" and any(gru.pays(model, node) for node in model.graph.node)
    model = upgraded(model, _SCAN_OPSET if scans else _OPSETS.get(scheme.name, 7), scheme.name)
    return model if scheme.name == "fp16" else in_float32(model)

"""The schemes by ai-edge-quantizer, with ranges that are exact."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager

from edgedl.errors import Unsupported
from edgedl.exporter import Calibration, FloatRegion, QuantizationOptions
from edgedl.formats import rounding_loss
from edgedl.schemes import Scheme
from edgedl.spec import Array
from edgedl_tflite import bias, flatbuffer, integer_io, names, signatures
from edgedl_tflite.calibrate import feeds_of, ranges
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import operators
from edgedl_tflite.equalize import equalize
from edgedl_tflite.layers import layers
from edgedl_tflite.lossy import INPUTS, LAYERS, RESULTS, float_regions
from edgedl_tflite.quiet import quiet
from edgedl_tflite.recipes import RECIPES, layers_alone, recipe_of
from edgedl_tflite.reconnect import reconnect

_PER_CHANNEL_VERSION = 12
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""operator -> which of its inputs is the bias"""
_STATIC = ("calibrator", "bias_correction", "equalize", "keep_float", "per_channel")
_OPTIONS = {
    "w8a8": (*_STATIC, "wide", "io"),
    "w8a16": _STATIC,
    "w4": ("keep_float", "per_channel"),
    "w8a8-dynamic": ("keep_float", "per_channel"),
    "w8": ("keep_float", "per_channel"),
    "fp16": ("keep_float",),
}
"""scheme -> the options that it carries out"""


def quantize(
    source: Path, scheme: Scheme, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> tuple[FloatRegion, ...]:
    """Write `source` under the scheme, with its names, order and dynamic axes kept.

    Returns what stays in float unasked, because integers would lose it.
    InvalidInput if calibration data is needed and missing; Unsupported if the tool cannot apply the scheme to the file.
    """
    if scheme.name not in RECIPES:
        raise Unsupported(f"TFLite has no scheme {scheme.name!r}: choose one of {', '.join(RECIPES)}")
    static = scheme.needs_calibration
    options = options.check(
        f"{scheme.name} in TFLite", _OPTIONS[scheme.name], lambda: layers(source),
        lambda: operators(read_checked(source)) if static else (),
    )  # fmt: skip
    originals = _read(source)
    integer_io.check(source.name, options.io, len(originals))
    parts = [_quantized(source.name, part, scheme, calibration, options) for part in originals]
    for model, _ in parts:
        integer_io.store(source.name, model, options.io)
    path.write_bytes(flatbuffer.serialize(signatures.merge([model for model, _ in parts])))
    return tuple(dict.fromkeys(region for _, regions in parts for region in regions))


def _quantized(
    name: str, original: Any, scheme: Scheme, calibration: Calibration | None, options: QuantizationOptions
) -> tuple[Any, tuple[FloatRegion, ...]]:
    """The quantized ModelT of a model with one signature, and what stays in float in it."""
    _flatten_biases(original)
    if not scheme.needs_calibration:
        regions = _joined_inputs(original, scheme, calibration)
        recipe = recipe_of(scheme.name, options, original, rounding_loss.names(regions))
        return _carried_out(name, original, scheme, recipe, None), regions
    feeds = feeds_of(original, scheme.name, calibration)
    _transform(original, options, feeds)
    levels = 65535 if scheme.activations == "int16" else 255
    regions = float_regions(original, feeds, levels, LAYERS if layers_alone(scheme.name, original) else RESULTS)
    recipe = recipe_of(scheme.name, options, original, rounding_loss.names(regions))
    found = ranges(name, original, recipe, feeds, options.calibrator)
    return _carried_out(name, original, scheme, recipe, found), regions


def _joined_inputs(original: Any, scheme: Scheme, calibration: Calibration | None) -> tuple[FloatRegion, ...]:
    """The layers that read a join of which one scale, taken at run time, would lose a part."""
    if calibration is None or scheme.activations != "int8":
        return ()
    return float_regions(original, feeds_of(original, scheme.name, calibration), 255, INPUTS)


def _carried_out(name: str, original: Any, scheme: Scheme, recipe: RecipeManager, ranges: dict[str, Any] | None) -> Any:
    """The ModelT that the tool makes of the original, under the original's names."""
    content = _apply(name, flatbuffer.serialize(original), scheme, recipe, ranges)
    quantized = _restored(flatbuffer.parse(content), original)
    quantized.signatureDefs[0].signatureKey = original.signatureDefs[0].signatureKey
    return quantized


def _flatten_biases(model: Any) -> None:
    """A normalisation that was folded into a transposed convolution leaves a bias of [1, 1, 1, channels]; edits `model`.

    The tool writes a scale for each channel along its first axis, and no engine loads that.
    """
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            place = _BIAS.get(flatbuffer.operator_name(model, operator))
            inputs = flatbuffer.numbers(operator.inputs)
            if place is not None and len(inputs) > place and inputs[place] >= 0:
                tensor = graph.tensors[inputs[place]]
                shape = flatbuffer.shape_of(tensor)
                if len(shape) > 1 and math.prod(shape) == shape[-1]:
                    tensor.shape = np.array(shape[-1:], np.int32)


def _transform(model: Any, options: QuantizationOptions, feeds: list[dict[str, Array]]) -> None:
    """The float model, computing the same (but for corrected biases), in a form that loses less by rounding; edits `model`."""
    if options.equalize:
        equalize(model)
    if options.bias_correction:
        bias.correct(model, options, feeds)


def _read(source: Path) -> list[Any]:
    """A ModelT for each signature: the tool takes one at a time."""
    model = read_checked(source)
    names.add_signature(model)
    return signatures.split(model) if len(model.signatureDefs) > 1 else [model]


def _apply(name: str, content: bytes, scheme: Scheme, recipe: RecipeManager, ranges: dict[str, Any] | None) -> bytes:
    try:
        with quiet():
            tool = Quantizer(content, recipe.get_quantization_recipe())
            result = tool.quantize(ranges, enable_progress_report=False)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unsupported(f"{name} cannot be written as {scheme.name}: {said}") from error
    return bytes(result.quantized_model)


def _raise_versions(model: Any) -> None:
    """Mark dynamic FULLY_CONNECTED with a scale per channel as version 12, which the tool leaves at 1.

    Engines that do not know it then refuse the file; tflite-runtime 2.14 would give wrong outputs without a word.
    """
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if _is_dynamic_per_channel(model, graph, operator):
                entry = model.operatorCodes[operator.opcodeIndex]
                entry.version = max(entry.version, _PER_CHANNEL_VERSION)


def _is_dynamic_per_channel(model: Any, graph: Any, operator: Any) -> bool:
    if flatbuffer.code_of(model, operator) != schema.BuiltinOperator.FULLY_CONNECTED:
        return False
    data, weights = (graph.tensors[index] for index in flatbuffer.numbers(operator.inputs)[:2])
    scales = weights.quantization.scale if weights.quantization is not None else None
    return data.type == schema.TensorType.FLOAT32 and scales is not None and len(scales) > 1


def _restored(model: Any, original: Any) -> Any:
    """The quantized model under the original's names and order, with its dynamic axes."""
    inputs, outputs = names.names_of(original)
    names.sort_signature(model, inputs, outputs)
    names.apply(model, inputs, outputs)
    _raise_versions(model)
    reconnect(model)
    before = {flatbuffer.text(tensor.name): tensor for tensor in original.subgraphs[0].tensors}
    for tensor in model.subgraphs[0].tensors:
        same = before.get(flatbuffer.text(tensor.name))
        if same is not None and same.shapeSignature is not None:
            tensor.shapeSignature = same.shapeSignature
    return model

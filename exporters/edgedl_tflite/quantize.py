"""The schemes by ai-edge-quantizer, with ranges that are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils.qsv_utils import min_max_update

from edgedl.errors import EngineFailed, InvalidInput, InvalidTensor, Unsupported
from edgedl.exporter import Calibration
from edgedl.schemes import Scheme
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl_tflite import flatbuffer, names, signatures
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import specs
from edgedl_tflite.loops import PREFIX
from edgedl_tflite.quiet import quiet
from edgedl_tflite.reconnect import reconnect

_EVERYTHING = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED}
_IN_LOOPS = f"{PREFIX}_[0-9]+/(steps|chunks)/"
_PER_CHANNEL_VERSION = 12
_NARROWER = {"int64": "int32", "float64": "float32"}


def quantize(source: Path, scheme: Scheme, calibration: Calibration | None, path: Path) -> None:
    """Write `source` under the scheme, with its names, order and dynamic axes kept.

    InvalidInput if calibration data is needed and missing; Unsupported if the tool cannot apply the scheme to the file.
    """
    if scheme.name not in _RECIPES:
        raise Unsupported(f"TFLite has no scheme {scheme.name!r}: choose one of {', '.join(_RECIPES)}")
    parts = [_quantized(source.name, part, scheme, calibration) for part in _read(source)]
    path.write_bytes(flatbuffer.serialize(signatures.merge(parts)))


def _quantized(name: str, original: Any, scheme: Scheme, calibration: Calibration | None) -> Any:
    """The quantized ModelT of a model with one signature."""
    content = flatbuffer.serialize(original)
    recipe = RecipeManager()
    _RECIPES[scheme.name](recipe)
    ranges = _ranges(name, content, original, recipe, calibration) if scheme.needs_calibration else None
    quantized = _restored(flatbuffer.parse(_apply(name, content, scheme, recipe, ranges)), original)
    quantized.signatureDefs[0].signatureKey = original.signatureDefs[0].signatureKey
    return quantized


def _read(source: Path) -> list[Any]:
    """A ModelT for each signature: the tool takes one at a time."""
    model = read_checked(source)
    names.add_signature(model)
    return signatures.split(model) if len(model.signatureDefs) > 1 else [model]


def _float16(recipe: RecipeManager) -> None:
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipe.add_quantization_config(**_EVERYTHING, op_config=config, algorithm_key=AlgorithmName.FLOAT_CASTING)


def _weights(recipe: RecipeManager) -> None:
    recipe.add_weight_only_config(**_EVERYTHING, num_bits=8)


def _dynamic(recipe: RecipeManager) -> None:
    """Depthwise weights are int8 and computed in float: XNNPACK has no dynamic kernel for them, LiteRT's own is slow."""
    recipe.add_dynamic_config(**_EVERYTHING, num_bits=8)
    recipe.add_weight_only_config(".*", qtyping.TFLOperationName.DEPTHWISE_CONV_2D, num_bits=8)


def _static(recipe: RecipeManager) -> None:
    """Everything in int8 but the borders, so that inputs and outputs stay float.

    In loops over time, the matrix products are dynamic: calibration does not see inside, and states add up errors.
    """
    recipe.add_static_config(**_EVERYTHING, activation_num_bits=8, weight_num_bits=8)
    recipe.add_weight_only_config(".*", qtyping.TFLOperationName.EMBEDDING_LOOKUP, num_bits=8)
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        recipe.add_quantization_config(regex=".*", operation_name=border, algorithm_key=AlgorithmName.NO_QUANTIZE)
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    recipe.add_quantization_config(_IN_LOOPS, everything, algorithm_key=AlgorithmName.NO_QUANTIZE)
    recipe.add_dynamic_config(_IN_LOOPS, qtyping.TFLOperationName.FULLY_CONNECTED, num_bits=8)


_RECIPES: dict[str, Callable[[RecipeManager], None]] = {
    "fp16": _float16,
    "w8": _weights,
    "w8a8-dynamic": _dynamic,
    "w8a8": _static,
}


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


def _ranges(
    name: str, content: bytes, model: Any, recipe: RecipeManager, calibration: Calibration | None
) -> dict[str, Any]:
    """Minimum and maximum of every tensor over all calibration rows: the tool's own moving average clips."""
    if calibration is None:
        raise InvalidInput("this scheme needs calibration data: give the task a calibration(), or choose w8a8-dynamic")
    inputs, key = specs(model)[0], flatbuffer.text(model.signatureDefs[0].signatureKey)
    feeds = [fitted for feed in calibration() for fitted in fit(signatures.fitted(feed, inputs), inputs)]
    if not feeds:
        raise InvalidInput("the calibration data is empty: expected one dictionary of arrays or more")
    try:
        with quiet():
            calibrator = Calibrator(content, num_threads=1, qsv_update_func=min_max_update)
            calibrator.calibrate({key: feeds}, recipe)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EngineFailed(f"{name} could not run on the calibration data: {said}") from error
    ranges: dict[str, Any] = calibrator.get_model_qsvs()
    return ranges


def fit(feed: Feeds, inputs: tuple[TensorSpec, ...]) -> Iterator[dict[str, Array]]:
    """The rows of a feed in batches of the file's length and dtypes; the last batch is filled up from the first row."""
    arrays = {spec.name: _typed(feed, spec) for spec in inputs}
    batched = {
        spec.name: int(spec.shape[0]) for spec in inputs if not spec.accepts(arrays[spec.name].shape) and spec.shape
    }
    batches = max((-(-arrays[name].shape[0] // length) for name, length in batched.items()), default=1)
    for number in range(batches):
        batch = {name: _rows(arrays[name], number * length, length) for name, length in batched.items()}
        yield {**arrays, **batch}


def _typed(feed: Feeds, spec: TensorSpec) -> Array:
    if spec.name not in feed:
        raise InvalidTensor(f"calibration data has no input {spec.name!r}: it has {', '.join(feed) or 'none'}")
    array = np.asarray(feed[spec.name])
    if spec.dtype not in (array.dtype.name, _NARROWER.get(array.dtype.name)):
        raise InvalidTensor(f"calibration input {spec.name!r} has dtype {array.dtype}, expected {spec.dtype}")
    row = (
        TensorSpec(spec.name, ("rows", *spec.shape[1:]), spec.dtype) if spec.shape and array.shape[:1] != (0,) else spec
    )
    if not row.accepts(array.shape) or (
        spec.shape and isinstance(spec.shape[0], str) and not spec.accepts(array.shape)
    ):
        raise InvalidTensor(f"calibration input {spec.name!r} has shape {array.shape}, expected {spec}")
    return np.ascontiguousarray(array, spec.dtype).reshape(array.shape)


def _rows(array: Array, first: int, length: int) -> Array:
    return np.ascontiguousarray(array[np.arange(first, first + length) % len(array)])

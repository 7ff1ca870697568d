"""The ranges of every tensor of a TFLite file over calibration inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils.qsv_utils import min_max_update

from edgedl.calibrators import ranges as clipped_ranges
from edgedl.errors import EngineFailed, InvalidInput, InvalidTensor
from edgedl.exporter import Calibration
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl_tflite import flatbuffer, signatures
from edgedl_tflite.describe import specs
from edgedl_tflite.observe import values
from edgedl_tflite.quiet import quiet

_SIDES = ("min", "max")
_NARROWER = {"int64": "int32", "float64": "float32"}


def feeds_of(model: Any, scheme: str, calibration: Calibration | None) -> list[dict[str, Array]]:
    """The calibration inputs in the file's shapes and dtypes; InvalidInput if there are none."""
    if calibration is None:
        raise InvalidInput(
            f"{scheme} needs calibration data: give the task a calibration(), or --calibration inputs.npz"
        )
    inputs = specs(model)[0]
    feeds = [fitted for feed in calibration() for fitted in fit(signatures.fitted(feed, inputs), inputs)]
    if not feeds:
        raise InvalidInput("the calibration data is empty: expected one dictionary of arrays or more")
    return feeds


def ranges(
    name: str, model: Any, recipe: RecipeManager, feeds: list[dict[str, Array]], calibrator: str
) -> dict[str, dict[str, Array]]:
    """The smallest and largest value that every tensor is to keep, as ai-edge-quantizer wants them."""
    found = _extremes(name, model, recipe, feeds)
    if calibrator == "minmax":
        return found
    computed = {name for name in found if np.size(found[name].get("min", ())) == 1} - _constants(model)
    clipped = clipped_ranges(lambda: values(model, feeds, computed), calibrator)
    for tensor, ends in clipped.items():
        found[tensor] = {side: np.full_like(found[tensor][side], end) for side, end in zip(_SIDES, ends, strict=True)}
    return found


def _constants(model: Any) -> set[str]:
    tensors = (tensor for graph in model.subgraphs for tensor in graph.tensors)
    return {flatbuffer.text(t.name) for t in tensors if flatbuffer.constant(model, t) is not None}


def _extremes(
    name: str, model: Any, recipe: RecipeManager, feeds: list[dict[str, Array]]
) -> dict[str, dict[str, Array]]:
    """Minimum and maximum of every tensor over all calibration rows: the tool's own moving average clips."""
    try:
        with quiet():
            calibrator = Calibrator(flatbuffer.serialize(model), num_threads=1, qsv_update_func=min_max_update)
            calibrator.calibrate({flatbuffer.text(model.signatureDefs[0].signatureKey): feeds}, recipe)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EngineFailed(f"{name} could not run on the calibration data: {said}") from error
    found: dict[str, dict[str, Array]] = calibrator.get_model_qsvs()
    return found


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

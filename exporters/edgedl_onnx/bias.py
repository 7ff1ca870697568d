"""Bias correction: biases take up the mean error that rounded weights cause.

Nagel et al., 2019, section 4.2: the mean output of a layer moves by (rounded weight - weight) x mean input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx

from edgedl.balance import rounded
from edgedl.exporter import Calibration, QuantizationOptions
from edgedl.spec import Array
from edgedl_onnx.graph import to_array
from edgedl_onnx.linear import Linear, linears, own_bias, replace
from edgedl_onnx.observe import Observer


def levels(layer: str, options: QuantizationOptions) -> int:
    """The largest integer that a weight of the layer becomes; 64 is what onnxruntime's reduced range ends at."""
    return 64 if layer in options.narrow else 127


def correct(model: onnx.ModelProto, options: QuantizationOptions, calibration: Calibration) -> int:
    """Edit the biases of `model` for the rounding that its weights will undergo; returns how many."""
    layers = [linear for linear in linears(model) if linear.name not in options.keep_float]
    layers = [linear for linear in layers if not linear.grouped or linear.depthwise]
    inputs = {linear.node.input[0]: linear.node.op_type == "Conv" for linear in layers}
    means = _means(Observer(model, list(inputs)).values(calibration), {name for name, conv in inputs.items() if conv})
    return sum(_correct(model, linear, options, means[linear.node.input[0]]) for linear in layers)


def _correct(model: onnx.ModelProto, linear: Linear, options: QuantizationOptions, mean: Array) -> bool:
    bias = own_bias(model, linear)
    if bias is None:
        return False
    weight = to_array(linear.weight)
    error = rounded(weight, linear.output_axis if options.per_channel else None, levels(linear.name, options)) - weight
    replace(bias, to_array(bias) - _response(linear, error, mean))
    return True


def _response(linear: Linear, error: Array, mean: Array) -> Array:
    """The mean output of each channel of a layer with the weights `error`."""
    if linear.depthwise:
        return np.asarray(error.reshape(len(error), -1).sum(1) * mean)
    if linear.node.op_type == "Conv":
        return np.asarray(error.reshape(*error.shape[:2], -1).sum(2) @ mean)
    return np.asarray(error @ mean if linear.output_axis == 0 else mean @ error)


def _means(values: Iterable[tuple[str, Array]], images: Collection[str]) -> dict[str, Array]:
    """The mean of each channel: the second axis of an image, the last one else."""
    total: dict[str, Array] = {}
    count: dict[str, int] = {}
    for name, array in values:
        rows = np.moveaxis(array, 1 if name in images else -1, -1).reshape(-1, array.shape[1 if name in images else -1])
        total[name] = total.get(name, 0) + rows.sum(0, dtype=np.float64)
        count[name] = count.get(name, 0) + len(rows)
    return {name: (total[name] / count[name]).astype(np.float32) for name in total}

"""Bias correction: biases take up the mean error that rounded weights cause.

Nagel et al., 2019, section 4.2: the mean output of a layer moves by (rounded weight - weight) x mean input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgedl.balance import rounded
from edgedl.exporter import QuantizationOptions
from edgedl.spec import Array, Feeds
from edgedl_tflite import flatbuffer
from edgedl_tflite.linear import Linear, linears
from edgedl_tflite.observe import values


def correct(model: Any, options: QuantizationOptions, feeds: Iterable[Feeds]) -> int:
    """Edit the biases of `model` for the rounding that its weights will undergo; returns how many."""
    tensors = model.subgraphs[0].tensors
    layers = [layer for layer in linears(model) if layer.name not in options.keep_float]
    sources = {id(layer.operator): flatbuffer.text(tensors[layer.operator.inputs[0]].name) for layer in layers}
    means = _means(values(model, feeds, set(sources.values())))
    for layer in layers:
        weight = layer.weight()
        error = rounded(weight, layer.output_axis if options.per_channel else None) - weight
        layer.write(weight, layer.bias() - _response(layer, error, means[sources[id(layer.operator)]]))
    return len(layers)


def _response(layer: Linear, error: Array, mean: Array) -> Array:
    """The mean output of each channel of a layer with the weights `error`."""
    if layer.kind == "DEPTHWISE_CONV_2D":
        return np.asarray(error.sum((0, 1, 2)) * np.repeat(mean, error.shape[3] // len(mean)))
    return np.asarray(error.reshape(len(error), -1, error.shape[-1]).sum(1) @ mean)


def _means(found: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    """The mean of each channel, which is the last axis."""
    total: dict[str, Array] = {}
    count: dict[str, int] = {}
    for name, array in found:
        rows = array.reshape(-1, array.shape[-1])
        total[name] = total.get(name, 0) + rows.sum(0, dtype=np.float64)
        count[name] = count.get(name, 0) + len(rows)
    return {name: (total[name] / count[name]).astype(np.float32) for name in total}

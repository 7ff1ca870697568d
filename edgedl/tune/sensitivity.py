"""Which layers lose most in one quantized run: how much noise each adds to what comes in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgedl.exporter import Exporter, Layer
from edgedl.spec import Array, Feeds
from edgedl.verify.matching import Tensor, matched

RUNS = 4


@dataclass(frozen=True)
class Sensitivity:
    """A layer and what follows it up to the next one, its activation function above all.

    sqnr_db: of the last tensor before the next layer, averaged over its channels, in decibels. added: its noise-to-signal
    ratio above that of the layer before. following: the next layer, which reads that tensor and must stay float with this one
    to be rid of its rounding.
    """

    layer: Layer
    sqnr_db: float
    added: float
    following: Layer | None


def sensitivities(exporter: Exporter, source: Path, quantized: Path, runs: Sequence[Feeds]) -> list[Sensitivity]:
    """The most sensitive first; layers of which the quantized file shows nothing are left out."""
    layers = exporter.layers(source)
    totals = np.zeros(len(layers))
    for feeds in islice(runs, RUNS):
        ours, theirs = (_tensors(exporter, path, feeds) for path in (source, quantized))
        totals += _noise_by_layer(layers, ours, theirs)
    noise = {index: value / min(RUNS, len(runs)) for index, value in enumerate(totals) if math.isfinite(value)}
    before = dict(zip(noise, [0.0, *noise.values()], strict=False))
    after = dict(zip(range(len(layers)), layers[1:], strict=False))
    found = [
        Sensitivity(layers[index], _decibels(value), value - before[index], after.get(index))
        for index, value in noise.items()
    ]
    return sorted(found, key=lambda item: -item.added)


def _tensors(exporter: Exporter, path: Path, feeds: Feeds) -> list[Tensor]:
    return [Tensor(name, value) for name, value in exporter.intermediates(path, feeds)]


def _noise_by_layer(layers: Sequence[Layer], ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> np.ndarray:
    """Of the last tensor that both files have from a layer's output up to the next layer's; NaN where there is none."""
    place = {tensor.name: index for index, tensor in enumerate(ours)}
    starts = [place.get(layer.output, -1) for layer in layers]
    pairs = dict(matched(ours, theirs, same_format=True))
    noise = np.full(len(layers), np.nan)
    for number, start in enumerate(starts):
        end = min((other for other in starts if other > start), default=len(ours))
        common = [index for index in range(start, end) if index in pairs] if start >= 0 else []
        if common:
            noise[number] = _noise(ours[common[-1]].value, theirs[pairs[common[-1]]].value)
    return noise


def _noise(ours: Array, theirs: Array) -> float:
    """The noise-to-signal ratio of a channel, at most 1, on the average of all.

    Channels are what the next layer weighs: one that rounding has wiped out counts, however small it is beside the others.
    Which axis they are on is not told; the one that shows more noise is taken.
    """
    if ours.shape != theirs.shape or ours.ndim < 2:
        ours, theirs = ours.reshape(1, -1), theirs.reshape(1, -1)
    return max(_by_channel(ours, theirs, axis) for axis in {1, ours.ndim - 1})


def _by_channel(ours: Array, theirs: Array, axis: int) -> float:
    others = tuple(n for n in range(ours.ndim) if n != axis)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    signal, noise = (a**2).sum(axis=others), ((a - b) ** 2).sum(axis=others)
    return float(np.clip(noise / np.maximum(signal, 1e-30), 0, 1).mean())


def _decibels(noise: float) -> float:
    return -10 * math.log10(max(noise, 1e-15))

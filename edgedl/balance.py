"""The arithmetic of moving scales between layers and of rounding weights, on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edgedl.spec import Array

_TINY = float(np.finfo(np.float32).tiny)


_SWEEPS = 10
"""A scale travels one layer a sweep; the ranges of chains of ten layers have settled by then."""


class Scalable(Protocol):
    """A layer with weights, of any format. by_output, by_input: the weights as [channels, weights of the channel]."""

    def by_output(self) -> Array: ...
    def by_input(self) -> Array: ...
    def scale_outputs(self, factors: Array) -> None: ...
    def scale_inputs(self, factors: Array) -> None: ...


def equalize(pairs: Sequence[tuple[Scalable, Scalable]]) -> int:
    """Give the channels between the two layers of each pair the same range on both sides; how many pairs there are."""
    for _ in range(_SWEEPS):
        for first, second in pairs:
            factors = equalizing(first.by_output(), second.by_input())
            first.scale_outputs(1 / factors)
            second.scale_inputs(factors)
    return len(pairs)


def rounded(weight: Array, axis: int | None, levels: int = 127) -> Array:
    """The weight after symmetric rounding to -levels .. levels, with a scale for each index of `axis` or one for all (None)."""
    others = tuple(n for n in range(weight.ndim) if n != axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True), _TINY) / levels
    return np.asarray(np.rint(weight / scale) * scale, np.float32)


def equalizing(first: Array, second: Array) -> Array:
    """What each channel of the first layer is to be divided by, and the second layer's inputs multiplied by.

    first, second: [channels, weights of the channel]. Nagel et al., "Data-free quantization through weight equalization and
    bias correction", 2019, equation 11: afterwards both have the range sqrt(r1 r2). Channels that are zero stay.
    """
    r1, r2 = np.abs(first).max(1), np.abs(second).max(1)
    alive = (r1 > _TINY) & (r2 > _TINY)
    return np.where(alive, np.sqrt(np.where(alive, r1, 1) / np.where(alive, r2, 1)), 1).astype(np.float32)


def smoothing(activations: Array, weights: Array, alpha: float) -> Array:
    """What each input channel is to be divided by, and its weights multiplied by.

    activations, weights: the largest magnitude of each channel. Xiao et al., "SmoothQuant", 2023, equation 4:
    activations ** alpha / weights ** (1 - alpha). Channels that are zero stay.
    """
    alive = (activations > _TINY) & (weights > _TINY)
    a, w = np.where(alive, activations, 1), np.where(alive, weights, 1)
    return np.where(alive, a**alpha / w ** (1 - alpha), 1).astype(np.float32)

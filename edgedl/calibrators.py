"""Ranges of activations from the values that they take on calibration inputs.

entropy: the threshold of S. Migacz, "8-bit inference with TensorRT", 2017, on both sides of zero, within a bound on the squared
error: the divergence does not see how far off a value is that was cut. mse: the clipping with the
least squared error of rounding, one end after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from edgedl.spec import Array

Range = tuple[float, float]
Values = Callable[[], Iterable[tuple[str, Array]]]
"""Gives (tensor, values) anew at each call, for every tensor and every batch."""

BINS, LEVELS = 2048, 256
PERCENTILE = 99.99
"""per cent of the values that stay inside"""
_SHARES = np.linspace(0.2, 1.0, 41)
"""of the exact range, that `mse` tries for each end"""

_WORST = 10.0
"""times the squared error of the exact range, that `entropy` may cost"""


def ranges(values: Values, calibrator: str) -> dict[str, Range]:
    """(lowest, highest) value of every tensor that is kept; zero is always among them."""
    exact = _extremes(values())
    if calibrator == "minmax":
        return exact
    counts = _histograms(values(), exact)
    return {name: _CLIPPED[calibrator](counts[name], *exact[name]) for name in exact}


def _extremes(values: Iterable[tuple[str, Array]]) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for name, array in values:
        if array.size:
            low, high = found.get(name, (0.0, 0.0))
            found[name] = min(low, float(array.min())), max(high, float(array.max()))
    return found


def _histograms(values: Iterable[tuple[str, Array]], exact: dict[str, Range]) -> dict[str, Array]:
    counts = {name: np.zeros(BINS) for name in exact}
    for name, array in values:
        if array.size:
            counts[name] += _counted(array, *exact[name])
    return counts


def _counted(array: Array, low: float, high: float) -> Array:
    """Values in each of the bins. numpy's histogram refuses ranges of denormal numbers."""
    places = np.nan_to_num((array.ravel().astype(np.float64) - low) / ((high - low) or 1.0) * BINS)
    return np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64), minlength=BINS)


def _percentile(counts: Array, low: float, high: float) -> Range:
    share = np.cumsum(counts) / counts.sum()
    outside = (1 - PERCENTILE / 100) / 2
    edges = np.linspace(low, high, BINS + 1)
    first, last = np.searchsorted(share, outside, "right"), np.searchsorted(share, 1 - outside)
    return min(0.0, float(edges[first])), max(0.0, float(edges[last + 1]))


def _mse(counts: Array, low: float, high: float) -> Range:
    centers = _centers(low, high)
    for _ in range(2):
        high = min((_error(counts, centers, low, high * share), high * share) for share in _SHARES)[1]
        low = min((_error(counts, centers, low * share, high), low * share) for share in _SHARES)[1]
    return low, high


def _error(counts: Array, centers: Array, low: float, high: float) -> float:
    step = (high - low) / (LEVELS - 1)
    if not step:
        return float("inf")
    rounded = np.rint((np.clip(centers, low, high) - low) / step) * step + low
    return float((counts * (centers - rounded) ** 2).sum())


def _entropy(counts: Array, low: float, high: float) -> Range:
    centers, reach = _centers(low, high), max(-low, high)
    most, crowd = _WORST * _error(counts, centers, low, high), _without_zero(counts, centers)
    clipped = [(t, (max(low, -t), min(high, t))) for t in reach * np.linspace(LEVELS / BINS, 1, 64)]
    near = [(_divergence(crowd, centers, t), ends) for t, ends in clipped if _error(counts, centers, *ends) <= most]
    return min(near, default=(0.0, (low, high)))[1]


def _without_zero(counts: Array, centers: Array) -> Array:
    """Zero is always exact, and after a ReLU half of all values: its bin is given the count of its neighbour."""
    zero = int(np.abs(centers).argmin())
    beside = counts[max(zero - 1, 0) : zero + 2]
    return np.where(np.arange(len(counts)) == zero, np.sort(beside)[-2], counts)


def _divergence(counts: Array, centers: Array, threshold: float) -> float:
    """KL(clipped || rounded): the outer values gathered at the ends, against all of them spread over the levels."""
    inside = np.abs(centers) <= threshold
    kept, inner = counts[inside].copy(), counts[inside]
    outer = counts[~inside].sum()
    if not inner.sum() or len(kept) < LEVELS // 2:
        return float("inf")
    kept[0] += counts[~inside & (centers < 0)].sum()
    kept[-1] += outer - counts[~inside & (centers < 0)].sum()
    level = np.arange(len(inner)) * LEVELS // max(len(inner), LEVELS)
    filled = inner > 0
    mass = np.bincount(level, inner, LEVELS) / np.maximum(np.bincount(level, filled, LEVELS), 1)
    rounded = np.where(filled, mass[level], 0)
    p, q = kept / kept.sum(), rounded / rounded.sum()
    there = (p > 0) & (q > 0)
    return float((p[there] * np.log(p[there] / q[there])).sum() + p[(p > 0) & (q == 0)].sum() * 10)


def _centers(low: float, high: float) -> Array:
    edges = np.linspace(low, high, BINS + 1)
    return np.asarray((edges[:-1] + edges[1:]) / 2)


_CLIPPED: dict[str, Callable[[Array, float, float], Range]] = {
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}

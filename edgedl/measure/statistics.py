"""What may be said from raw samples: medians, percentiles and ratios, each with what it can bear.

A *round* is a short burst of consecutive runs of one subject. Runs within a round share what the machine was doing at
that moment, so rounds, and not runs, are what is resampled (the cluster bootstrap: Davison & Hinkley, "Bootstrap
Methods and their Application", 1997, section 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95
MLPERF_CONFIDENCE = 0.99
_GRID = 2048


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % confidence interval, all in the unit of the samples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Percentile:
    """One percentile of a latency, or why there is none.

    level: 0.9 for p90. needed: the number of runs from which it may be given. value: the percentile of the samples.
    bound: what it stays under with 99 % confidence (MLPerf's early-stopping estimate). Both None with too few runs.
    """

    level: float
    needed: int
    value: float | None
    bound: float | None


def median(rounds: Sequence[Samples]) -> Estimate:
    """The median of all samples; its interval is the percentile bootstrap over rounds, pooled after resampling.

    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3. Medians are taken on a grid of at most
    2048 of the samples, which is exact below that number and within 1/2048 in rank above it.
    """
    pooled = np.sort(np.concatenate(rounds))
    grid = pooled[np.linspace(0, len(pooled) - 1, min(len(pooled), _GRID)).round().astype(int)]
    below = np.array([np.searchsorted(np.sort(samples), grid, "right") for samples in rounds], np.float64)
    resampled = _weights(len(rounds)) @ below
    medians = grid[(resampled >= resampled[:, -1:] / 2).argmax(axis=1)]
    return Estimate(float(np.median(pooled)), *interval(medians.astype(np.float64), len(rounds)))


def ratio(numerator: Figures, denominator: Figures) -> Estimate:
    """The median of the quotients of paired rounds, with its percentile bootstrap interval.

    numerator, denominator: one figure (the round's median) per round; figures of one index were taken side by side, so
    that what slows the machine cancels. Resampled as logarithms, so that ratio(a, b) is 1 / ratio(b, a).
    """
    logs = np.log(numerator) - np.log(denominator)
    chosen = _generator().integers(0, len(logs), (RESAMPLES, len(logs)))
    low, high = interval(np.median(logs[chosen], axis=1), len(logs))
    return Estimate(math.exp(float(np.median(logs))), math.exp(low), math.exp(high))


def unpaired_ratio(numerator: Figures, denominator: Figures) -> Estimate:
    """The quotient of the medians of rounds that were not taken side by side, each side resampled on its own."""
    sides = [np.log(numerator), np.log(denominator)]
    generator, fewest = _generator(), min(map(len, sides))
    chosen = [np.median(generator.choice(logs, (RESAMPLES, len(logs))), axis=1) for logs in sides]
    low, high = interval(chosen[0] - chosen[1], fewest)
    middle = float(np.median(sides[0]) - np.median(sides[1]))
    return Estimate(math.exp(middle), math.exp(low), math.exp(high))


def interval(resampled: Figures, count: int) -> tuple[float, float]:
    """The 95 % expanded percentile interval of bootstrap figures made from `count` independent ones.

    The plain percentile interval is too narrow for few rounds; its tail area alpha / 2 is replaced by
    Phi(-sqrt(n / (n - 1)) * t(alpha / 2, n - 1)): Hesterberg, "What Teachers Should Know About the Bootstrap", The
    American Statistician 69 (2015), section 3.3.
    """
    tail = (1 - CONFIDENCE) / 2
    expanded = NormalDist().cdf(-math.sqrt(count / (count - 1)) * student_t(1 - tail, count - 1))
    low, high = np.quantile(resampled, [expanded, 1 - expanded])
    return float(low), float(high)


def student_t(level: float, freedom: int) -> float:
    """Quantile of Student's t for 4 or more degrees of freedom, within 1 %: Abramowitz & Stegun (1964), 26.7.5."""
    z: float = NormalDist().inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))


def widened(estimate: Estimate, relative: float) -> Estimate:
    """A ratio with room for a fixed offset of unknown sign, of at most `relative`, on both sides of its interval.

    The offset does not average out over rounds and its bound is no standard deviation: bounds of systematic errors are
    added, where variances would be added in quadrature (Eisenhart, "Realistic Evaluation of the Precision and Accuracy of
    Instrument Calibration Systems", J. Res. NBS 67C, 1963). So 95 % is what the interval covers at the least.
    """
    return Estimate(estimate.value, estimate.low / (1 + relative), estimate.high * (1 + relative))


def smallest_visible(estimate: Estimate) -> float:
    """The smallest relative difference that a ratio this uncertain shows: exp of half its log width, minus 1."""
    return math.exp((math.log(estimate.high) - math.log(estimate.low)) / 2) - 1


def percentile(samples: Samples, level: float) -> Percentile:
    """The percentile as mlcommons/inference (loadgen/results.cc) takes it: sorted[int(n * level)]; bound: sorted[n - t]
    with the largest t that `allowed_misses` grants."""
    needed = queries_needed(level)
    if len(samples) < needed:
        return Percentile(level, needed, None, None)
    ordered = np.sort(samples)
    bound = ordered[len(ordered) - allowed_misses(len(ordered), level)]
    return Percentile(level, needed, float(ordered[int(len(ordered) * level)]), float(bound))


def queries_needed(level: float, misses: int = 1) -> int:
    """The fewest queries from which a percentile may be given: p90 64, p95 130, p97 219, p99 662.

    The smallest n with P(Binomial(n, 1 - level) <= misses) <= 1 %: MLPerf inference rules, "Early stopping criterion".
    """
    count = misses + 1
    while _miss_probabilities(count, level)[misses] > 1 - MLPERF_CONFIDENCE:
        count += 1
    return count


def allowed_misses(count: int, level: float) -> int:
    """The most over-latency queries, of `count`, with which the percentile holds at 99 % confidence (same rule)."""
    return int(np.searchsorted(_miss_probabilities(count, level), 1 - MLPERF_CONFIDENCE, "right")) - 1


def _miss_probabilities(count: int, level: float) -> Figures:
    """P(Binomial(count, 1 - level) <= k) for k = 0 .. count; from logarithms, for thousands of queries underflow."""
    k = np.arange(1, count + 1)
    steps = np.log((count - k + 1) / k) + math.log((1 - level) / level)
    logs = count * math.log(level) + np.concatenate([[0.0], np.cumsum(steps)])
    total: Figures = np.cumsum(np.exp(logs))
    return total


def _weights(rounds: int) -> Figures:
    """How often each round is drawn, for each resample."""
    drawn = _generator().multinomial(rounds, [1 / rounds] * rounds, size=RESAMPLES)
    return drawn.astype(np.float64)


def _generator() -> np.random.Generator:
    return np.random.default_rng(20240229)  # a fixed seed: one record has one set of figures

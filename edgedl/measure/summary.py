"""Figures of one subject, and sentences about two, derived from the raw samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedl.measure import statistics
from edgedl.measure.record import BenchmarkRecord, Measured
from edgedl.measure.statistics import Estimate, Figures, Percentile, Samples

LEVELS = (0.5, 0.9, 0.99)
MOST_NOISE = 0.10
LEAST_BUSY = 0.85
SAME = 0.01
"""Relative RMS up to which two machines compute the same: engines differ by their kernels, int8 by up to two steps between versions."""
PROCESS_SPREAD = 0.02
"""How far two processes that run one and the same file may stand apart, for where its code and data happen to lie
(Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009). Of 56 such pairs, of 4 to 9
microseconds per run on a virtual machine with two cores, 16 differed beyond their rounds' noise, none by more than 2.0 %."""


@dataclass(frozen=True)
class Summary:
    """median_ns: wall nanoseconds per run. cpu_ns: processor nanoseconds per run, over all threads; median of rounds.

    noise: relative spread of the round medians (interquartile range / 1.349: the standard deviation, were they normal).
    busy: share of wall time in which the process ran; near 1 on a quiet machine with one thread.
    """

    label: str
    runs: int
    median_ns: Estimate
    cpu_ns: float
    percentiles: tuple[Percentile, ...]
    noise: float
    busy: float
    preemptions: int


def summarize(subject: Measured) -> Summary:
    """The figures of a subject that has rounds."""
    rounds = arrays(subject)
    pooled = np.concatenate(rounds)
    return Summary(
        label=subject.label,
        runs=len(pooled),
        median_ns=statistics.median(rounds),
        cpu_ns=float(np.median([1e9 * r.cpu_seconds / r.runs for r in subject.rounds])),
        percentiles=tuple(statistics.percentile(pooled, level) for level in LEVELS),
        noise=_noise(round_medians(subject)),
        busy=sum(r.cpu_seconds for r in subject.rounds) * 1e9 / float(pooled.sum(dtype=np.float64)),
        preemptions=sum(r.preemptions for r in subject.rounds),
    )


def arrays(subject: Measured) -> list[Samples]:
    """Wall nanoseconds, one array per round."""
    return [r.wall_ns for r in subject.rounds]


def round_medians(subject: Measured) -> Figures:
    return np.array([np.median(samples) for samples in arrays(subject)])


def speedup(subject: Measured, baseline: Measured) -> Estimate:
    """How many times faster `subject` is than `baseline`, both of one record; below 1 it is slower.

    The interval holds what differs from round to round and, by PROCESS_SPREAD, from process to process.
    """
    return statistics.widened(statistics.ratio(round_medians(baseline), round_medians(subject)), PROCESS_SPREAD)


def is_faster(gain: Estimate) -> bool:
    return gain.low > 1


def is_slower(gain: Estimate) -> bool:
    return gain.high < 1


def verdict(subject: Measured, baseline: Measured) -> str:
    """`faster` and `slower` only where the interval of the ratio excludes 1."""
    gain = speedup(subject, baseline)
    if is_faster(gain):
        return f"{subject.label} is {times(gain)} faster than {baseline.label} ({between(gain)})"
    if is_slower(gain):
        loss = Estimate(1 / gain.value, 1 / gain.high, 1 / gain.low)
        return f"{subject.label} is {times(loss)} slower than {baseline.label} ({between(loss)})"
    return f"no difference could be seen between {subject.label} and {baseline.label} ({visible(gain)})"


def times(gain: Estimate) -> str:
    """`2.31x`, with as many decimals as tell it from 1."""
    return f"{gain.value:.{_places(gain)}f}x"


def between(gain: Estimate) -> str:
    places = _places(gain)
    return f"95 % interval {gain.low:.{places}f} to {gain.high:.{places}f}"


def visible(gain: Estimate) -> str:
    return f"smallest visible: {100 * statistics.smallest_visible(gain):.2g} %"


def warnings(record: BenchmarkRecord) -> list[str]:
    """One sentence for each subject that failed, and for each whose samples show a machine too busy to believe."""
    pairs = zip(record.subjects, record.summaries, strict=True)
    return [sentence for subject, summary in pairs if (sentence := _warning(subject, summary))]


def _warning(subject: Measured, summary: Summary | None) -> str:
    if subject.failure:
        return f"{subject.label}: {subject.failure.message}"
    if subject.parity and not subject.parity.relative_rms <= SAME:
        return f"{subject.label} on {subject.target} computes something else than here: relative RMS error {subject.parity.relative_rms:.2g}"
    if not summary:
        return ""
    busy = f"{subject.label}: the machine was too busy"
    if subject.threads == 1 and summary.busy < LEAST_BUSY:
        return f"{busy}: it ran in only {summary.busy:.0%} of the time, believe its CPU time only"
    if summary.noise > MOST_NOISE:
        return f"{busy} to believe small differences: its rounds differ by {summary.noise:.0%}"
    return ""


def _places(gain: Estimate) -> int:
    if gain.low < 1.1 and gain.high > 0.9:
        return 3
    return 2 if gain.value < 10 else 1


def _noise(medians: Figures) -> float:
    low, middle, high = np.quantile(medians, [0.25, 0.5, 0.75])
    return float((high - low) / 1.349 / middle)

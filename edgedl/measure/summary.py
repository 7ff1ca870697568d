"""Figures of one subject, and sentences about two, derived from the raw samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedl.measure import statistics
from edgedl.measure.agreement import MOST_STEPS, SAME
from edgedl.measure.record import BenchmarkRecord, HostParity, Measured
from edgedl.measure.statistics import Estimate, Figures, Percentile, Samples

LEVELS = (0.5, 0.9, 0.95, 0.99)
MOST_NOISE = 0.10
LEAST_BUSY = 0.85
PROCESS_SPREAD = 0.02
"""How far two processes that run one and the same file may stand apart, for where its code and data happen to lie
(Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009). Of 56 such pairs, of 4 to 9
microseconds per run on a virtual machine with two cores, 16 differed beyond their rounds' noise, none by more than 2.0 %."""


@dataclass(frozen=True)
class Summary:
    """median_ns: wall nanoseconds per run. cpu_ns: processor nanoseconds per run, over all threads; median of rounds.

    noise: relative spread of the round medians (interquartile range / 1.349: the standard deviation, were they normal).
    busy: share of wall time in which the process ran; near 1 on a quiet machine with one thread.
    visible: the smallest relative difference from another subject as noisy as this one that could have been seen here.
    per_second: runs a second, of all streams together.
    """

    label: str
    runs: int
    median_ns: Estimate
    cpu_ns: float
    percentiles: tuple[Percentile, ...]
    noise: float
    busy: float
    preemptions: int
    visible: float
    per_second: Estimate


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
        visible=_visible(round_medians(subject)),
        per_second=inverse(statistics.ratio(round_periods(subject), np.full(len(subject.rounds), 1e9))),
    )


def arrays(subject: Measured) -> list[Samples]:
    """Wall nanoseconds, one array per round."""
    return [r.wall_ns for r in subject.rounds]


def round_medians(subject: Measured) -> Figures:
    return np.array([np.median(samples) for samples in arrays(subject)])


def round_periods(subject: Measured) -> Figures:
    """Nanoseconds of each round for each run of all streams: what throughput is the inverse of."""
    return np.array([1e9 * max(r.seconds, 1e-9) / r.runs for r in subject.rounds])


def speedup(subject: Measured, baseline: Measured, mode: str = "latency") -> Estimate:
    """How many times faster `subject` is than `baseline`, both of one record of that mode; below 1 it is slower.

    The interval holds what differs from round to round and, by PROCESS_SPREAD, from process to process. Of the mode
    `throughput` the rates are compared; rounds of the mode `sustained` were not taken side by side.
    """
    figures = round_periods if mode == "throughput" else round_medians
    compared = statistics.unpaired_ratio if mode == "sustained" else statistics.ratio
    return statistics.widened(compared(figures(baseline), figures(subject)), PROCESS_SPREAD)


def slowdown(subject: Measured) -> Estimate:
    """How many times slower the last third of the rounds was than the first, as a processor that throttles is."""
    medians = round_medians(subject)
    third = max(2, len(medians) // 3)
    return statistics.unpaired_ratio(medians[-third:], medians[:third])


def throttling(subject: Measured) -> str:
    """One sentence: whether the subject became slower, and what its clock did."""
    loss = slowdown(subject)
    change = f"{100 * (loss.value - 1):+.1f} % ({100 * (loss.low - 1):+.1f} to {100 * (loss.high - 1):+.1f})"
    clocks = [r.megahertz for r in subject.rounds if r.megahertz]
    clock = f", the clock went from {clocks[0]:.0f} to {clocks[-1]:.0f} MHz" if clocks else ""
    heat = [r.celsius for r in subject.rounds if r.celsius is not None]
    clock += f", the temperature from {heat[0]:.0f} to {heat[-1]:.0f} C" if heat else ""
    lasted = subject.rounds[-1].at + subject.rounds[-1].seconds - subject.rounds[0].at
    ran = sum(r.cpu_seconds for r in subject.rounds) / max(sum(r.seconds for r in subject.rounds), 1e-9)
    where = f"{subject.label}, {lasted:.0f} s without a pause"
    if subject.threads == 1 and ran < LEAST_BUSY:
        return (
            f"{where}: nothing can be said of throttling, for other work took the processor; last third {change}{clock}"
        )
    said = "it throttled" if loss.low > 1 + PROCESS_SPREAD else "no throttling could be seen"
    return f"{where}: {said}; last third against first {change}{clock}"


def is_faster(gain: Estimate) -> bool:
    return gain.low > 1


def is_slower(gain: Estimate) -> bool:
    return gain.high < 1


def verdict(subject: Measured, baseline: Measured, mode: str = "latency") -> str:
    """`faster` and `slower` only where the interval of the ratio excludes 1."""
    gain = speedup(subject, baseline, mode)
    if is_faster(gain):
        return f"{subject.label} is {times(gain)} faster than {baseline.label} ({between(gain)})"
    if is_slower(gain):
        loss = inverse(gain)
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


def remarks(record: BenchmarkRecord) -> list[str]:
    """How fine the measurement was, which percentiles it cannot bear, and, of the mode `sustained`, whether it throttled."""
    timed = [summary for summary in record.summaries if summary]
    if not timed:
        return []
    said = [throttling(subject) for subject in record.finished if subject.rounds and record.plan.mode == "sustained"]
    noise, seen = max(summary.noise for summary in timed), max(summary.visible for summary in timed)
    said.append(
        f"Noise: rounds of one subject differ by {noise:.1%}; the smallest difference that could be seen here was {seen:.1%}"
    )
    return [*said, *(_refused(timed) if record.plan.mode != "cold" else ())]


def _refused(timed: list[Summary]) -> list[str]:
    """The percentiles that the fewest runs cannot bear."""
    fewest = min(timed, key=lambda summary: summary.runs)
    short = [p for p in fewest.percentiles if p.value is None and p.level > 0.5]
    needed = ", ".join(f"p{100 * p.level:.3g} needs {p.needed}" for p in short)
    return [f"Not given for {fewest.runs} runs: {needed} (--runs)"] if short else []


def warnings(record: BenchmarkRecord) -> list[str]:
    """One sentence for each subject that failed, and for each whose samples show a machine too busy to believe."""
    pairs = zip(record.subjects, record.summaries, strict=True)
    busy = [sentence for subject, summary in pairs if (sentence := _warning(subject, summary))]
    return [*busy, *(f"{subject.label}: {doubt}" for subject in record.subjects for doubt in subject.doubts)]


def same(parity: HostParity, engine: str | None) -> bool:
    """Whether `engine`, on the target, computes what the host's does: to SAME, and across engines to MOST_STEPS of rounding."""
    rounded = parity.steps is not None and parity.steps <= MOST_STEPS and engine != parity.host_engine
    return parity.relative_rms <= SAME or rounded


def error_told(parity: HostParity) -> str:
    """`relative RMS error 0.03, 5 steps of the outputs' rounding`."""
    return f"relative RMS error {parity.relative_rms:.2g}{steps_told(parity)}"


def steps_told(parity: HostParity) -> str:
    """`, 1 step of the outputs' rounding`; "" where the outputs are not rounded."""
    if parity.steps is None:
        return ""
    return f", {parity.steps:g} step{'s' * (parity.steps != 1)} of the outputs' rounding"


def _warning(subject: Measured, summary: Summary | None) -> str:
    if subject.failure:
        return f"{subject.label}: {subject.failure.message}"
    if subject.parity and not same(subject.parity, subject.engine):
        return f"{subject.label} on {subject.target} computes something else than here: {error_told(subject.parity)}"
    if not subject.agrees:
        return (
            f"{subject.label} does not compute what the artifact was proven to: relative RMS {subject.golden_rms:.2g} to its golden outputs, "
            f"expected at most {SAME:g}"
        )
    if not summary:
        return ""
    busy = f"{subject.label}: the machine was too busy"
    if (
        subject.threads == 1 and summary.busy < LEAST_BUSY * subject.quota and not subject.starts
    ):  # a start waits for the disk
        return f"{busy}: it ran in only {summary.busy:.0%} of the time, believe its CPU time only"
    if summary.noise > MOST_NOISE and subject.quota == 1:
        return f"{busy} to believe small differences: its rounds differ by {summary.noise:.0%}"
    return ""


def _places(gain: Estimate) -> int:
    if gain.low < 1.1 and gain.high > 0.9:
        return 3
    return 2 if gain.value < 10 else 1


def inverse(estimate: Estimate) -> Estimate:
    return Estimate(1 / estimate.value, 1 / estimate.high, 1 / estimate.low)


def _visible(medians: Figures) -> float:
    """From the even rounds against the odd ones, of which there are half as many as there would be pairs."""
    pairs = len(medians) // 2 * 2
    halves = statistics.ratio(medians[0:pairs:2], medians[1:pairs:2])
    narrowed = Estimate(
        1.0, *(math.exp(math.log(end / halves.value) / math.sqrt(2)) for end in (halves.low, halves.high))
    )
    return statistics.smallest_visible(statistics.widened(narrowed, PROCESS_SPREAD))


def _noise(medians: Figures) -> float:
    low, middle, high = np.quantile(medians, [0.25, 0.5, 0.75])
    return float((high - low) / 1.349 / middle)

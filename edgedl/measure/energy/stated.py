"""Energy from a power that the user states: for a machine without a counter whose power a meter at the plug or a data sheet tells."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from edgedl.errors import InvalidInput
from edgedl.measure.record import BenchmarkRecord, Figure, Measured
from edgedl.measure.summary import Summary

_NUMBER = r"\d+(?:\.\d+)?"
_POWER = re.compile(rf"({_NUMBER})(?:\+-|±)({_NUMBER})W?")


@dataclass(frozen=True)
class StatedPower:
    """Watts above the idle machine while the model runs, and half the width of their 95 % interval."""

    watts: float
    error: float


def parse_power(text: str) -> StatedPower:
    """`3.2+-0.4`; InvalidInput for what has no error: a power without one makes an energy that nobody can judge."""
    match = _POWER.fullmatch(text.replace(" ", ""))
    if not match or not float(match[1]) > 0 or float(match[2]) >= float(match[1]):
        raise InvalidInput(f"watts {text!r}: expected the power above idle and its error, such as 3.2+-0.4")
    return StatedPower(float(match[1]), float(match[2]))


def with_stated_power(record: BenchmarkRecord, power: StatedPower) -> BenchmarkRecord:
    """The energy of one run of each timed subject that has none of its own: the stated power x the median latency."""
    pairs = zip(record.subjects, record.summaries, strict=True)
    return replace(record, subjects=tuple(_told(subject, summary, power) for subject, summary in pairs))


def _told(subject: Measured, summary: Summary | None, power: StatedPower) -> Measured:
    if summary is None or any(figure.name == "energy" for figure in subject.figures):
        return subject
    return replace(subject, figures=(*subject.figures, _figure(summary, power)))


def _figure(summary: Summary, power: StatedPower) -> Figure:
    """Relative errors of a product of two independent factors add in squares."""
    latency = summary.median_ns
    widths = (power.error / power.watts, (latency.high - latency.low) / 2 / latency.value)
    joules = power.watts * latency.value * 1e-9
    error = joules * math.hypot(*widths)
    basis = f"a stated power of {power.watts:g} +- {power.error:g} W above idle, times the median latency"
    return Figure("energy", joules, "J", "estimated", max(0.0, joules - error), joules + error, basis)

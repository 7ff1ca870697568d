"""Every timed subject against every other one: how many times faster, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from edgedl.measure import BenchmarkRecord, Measured, speedup
from edgedl.measure.statistics import Estimate
from edgedl.measure.summary import inverse, is_faster, is_slower
from edgedl.report import units
from edgedl.report.columns import Column

FEWEST = 3
"""Two are compared by one sentence."""


@dataclass(frozen=True)
class Line:
    """number: its place in the table, from 1. gains: how many times faster it is than each of the subjects; None: itself."""

    number: int
    label: str
    gains: tuple[Estimate | None, ...]


def matrix(record: BenchmarkRecord | None) -> tuple[Line, ...]:
    """A line for each timed subject; empty for fewer than three, or where they did not run in one place."""
    timed = [subject for subject in record.finished if subject.rounds] if record else []
    if record is None or len(timed) < FEWEST or len({subject.place for subject in timed}) > 1:
        return ()
    gains = _gains(timed, record.plan.mode)
    places = range(len(timed))
    return tuple(
        Line(row + 1, timed[row].label, tuple(gains.get((row, column)) for column in places)) for row in places
    )


def _gains(timed: Sequence[Measured], mode: str) -> dict[tuple[int, int], Estimate]:
    found: dict[tuple[int, int], Estimate] = {}
    for one, other in combinations(range(len(timed)), 2):
        gain = speedup(timed[one], timed[other], mode)
        found |= {(one, other): gain, (other, one): inverse(gain)}
    return found


def columns(lines: Sequence[Line]) -> tuple[Column[Line], ...]:
    """`1.36x [1.33, 1.39]` where the interval excludes 1, else `no difference`."""
    names = Column[Line]("times faster than", lambda line: f"{line.number}. {line.label}", words=True)
    return (names, *(_column(place) for place in range(len(lines))))


def _column(place: int) -> Column[Line]:
    return Column(f"{place + 1}.", lambda line: _words(line.gains[place]))


def _words(gain: Estimate | None) -> str:
    if gain is None:
        return units.NONE
    shown = f"{gain.value:.3g}x" if is_faster(gain) or is_slower(gain) else "no difference"
    return f"{shown} [{gain.low:.3g}, {gain.high:.3g}]"

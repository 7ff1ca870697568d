"""The energy of each subject's rounds, on a machine that has a counter; without one everything goes on as before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from edgedl.errors import Unavailable
from edgedl.measure.energy import Energy, Idle, Tally, find_counter
from edgedl.measure.energy.counter import Counter
from edgedl.measure.record import Figure, Measured
from edgedl.measure.runner import Runner

REST = 1.0
"""seconds for which the idle power is taken, with all models loaded and none running"""


class Joules:
    """One counter, a tally for each runner. reason: why nothing is counted, None where it is."""

    def __init__(self, device: str, here: bool) -> None:
        self.counter: Counter | None = None
        self.reason: str | None = None if here else "energy is counted on this machine only"
        self._tallies: dict[int, Tally] = {}
        self._idle: Idle | None = None
        with self._losing():
            self.counter = find_counter(device) if here else None

    def take(self, runner: Runner, turn: int | None) -> None:
        """runner.take, with what it takes counted; the preparation of a runner is not."""
        if self._idle is None and turn is not None and self.counter:
            with self._losing():
                self._idle = Tally(self.counter).rest(REST)
        with self._tally(runner) if turn is not None and self._idle else contextlib.nullcontext():
            runner.take(turn)

    def _tally(self, runner: Runner) -> Tally:
        assert self.counter
        return self._tallies.setdefault(id(runner), Tally(self.counter, self._idle))

    def told(self, runner: Runner) -> Measured:
        """What the runner measured, with the energy of one run where it was counted."""
        tally, runs = self._tallies.get(id(runner)), sum(r.runs for r in runner.measured.rounds[runner.restored :])
        if tally is None or not runs or runner.measured.failure:
            return runner.measured
        with self._losing():
            figure = figure_of(tally.energy().per(runs))
            return replace(runner.measured, figures=(*runner.measured.figures, figure))
        return runner.measured

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """A counter that is not there, or no longer, ends the counting and nothing else."""
        try:
            yield
        except Unavailable as error:
            self.counter, self._idle, self.reason = None, None, str(error)


def figure_of(energy: Energy) -> Figure:
    """Joules of one run with the 95 % interval; what was counted and cannot be told from the idle machine has one that holds 0."""
    basis = (
        energy.source if energy.idle_watts is None else f"{energy.source}, {energy.idle_watts:.2f} W idle subtracted"
    )
    return Figure(
        "energy",
        energy.joules,
        "J",
        "measured" if energy.method == "measured" else "predicted",
        energy.low,
        energy.high,
        basis,
    )

"""Interleaved pairs of the same work done in two ways, and the ratio of their times with its interval."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

Work = Callable[[], object]


def interleaved(
    ours: Work, theirs: Work, rounds: int, runs: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """time(ours) / time(theirs) of each round; which of them goes first alternates."""
    ratios = []
    for number in range(rounds):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        seconds = {work: _timed(work, runs, clock) for work in order}
        ratios.append(seconds[ours] / seconds[theirs])
    return ratios


def _timed(work: Work, runs: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(runs):
        work()
    return clock() - start


def sentence(what: str, ratios: list[float], goal: float) -> str:
    """The median ratio with its 95 % bootstrap interval, and the goal that it is held against."""
    medians = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return f"{what}: {np.median(ratios):.3f}x ({low:.3f} to {high:.3f}, {len(ratios)} rounds; goal at most {goal}x)"

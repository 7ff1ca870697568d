"""The measurement itself: a process for each subject, rounds interleaved across all of them."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgedl.measure.environment import environment, finish
from edgedl.measure.joules import Joules
from edgedl.measure.journal import Journal
from edgedl.measure.plan import Plan, Subject
from edgedl.measure.record import BenchmarkRecord
from edgedl.measure.runner import ColdRunner, FeedsOf, Runner
from edgedl.measure.subjects import describe
from edgedl.place import HERE, Place

Progress = Callable[[int, int], None]
"""(steps done, steps in all)"""


def steps(subjects: int, plan: Plan) -> int:
    """How many steps `progress` will count."""
    return subjects * (plan.rounds + 1 + plan.profile)


def measure(
    subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Progress, place: Place = HERE,
    journal: Journal | None = None,
) -> BenchmarkRecord:  # fmt: skip
    """Measure all subjects side by side.

    Each has a process of its own; all are loaded and warmed up, then every round gives each a turn, in seeded random
    order; in the mode `sustained` they come one after the other. A subject whose engine crashes, hangs, refuses or gives
    NaN keeps the reason as its `failure`; the others finish.
    InvalidInput where there is no subject. place: where the processes run; the record tells its machine of each subject.
    journal: keeps what was measured, and gives what an interrupted run of the same measurement left.
    """
    before, began = environment(), time.perf_counter_ns()
    kind = ColdRunner if plan.mode == "cold" else Runner
    with contextlib.ExitStack() as stack:
        described = [replace(describe(subject), target=place.name) for subject in subjects]
        runners = [
            kind(subject, feeds_of, plan, stack, place, found, began)
            for subject, found in zip(subjects, described, strict=True)
        ]
        joules = Joules(subjects[0].device if subjects else "cpu", place is HERE)
        for done, step in enumerate(_steps(runners, plan, joules, journal), start=1):
            step()
            progress(min(done, steps(len(runners), plan)), steps(len(runners), plan))
    return BenchmarkRecord(tuple(map(joules.told, runners)), plan, finish(before), no_energy=joules.reason)


def _steps(runners: list[Runner], plan: Plan, joules: Joules, journal: Journal | None) -> Iterator[Callable[[], None]]:
    kept = journal.entries if journal else ()
    for states in kept:
        yield functools.partial(_restore, runners, states)
    blocks = _blocks(runners, plan)
    if plan.mode != "sustained" and len(kept) < len(blocks):
        blocks[len(kept)][:0] = [(runner, None) for runner in runners]
    for block in blocks[len(kept) :]:
        yield from (functools.partial(joules.take, runner, position) for runner, position in block)
        if journal:
            journal.append([runner.news() for runner in runners])
    if plan.profile:
        yield from (runner.profile for runner in runners)


def _restore(runners: list[Runner], states: Sequence[Mapping[str, Any]]) -> None:
    for runner, state in zip(runners, states, strict=True):
        runner.restore(state)


def _blocks(runners: list[Runner], plan: Plan) -> list[list[tuple[Runner, int | None]]]:
    """(runner, its position in the round, or None: it is prepared), by what belongs together.

    That is a round of all subjects or, in the mode `sustained`, all rounds of one.
    """
    if plan.mode == "sustained":
        return [[(runner, position) for position in [None, *[0] * plan.rounds]] for runner in runners]
    generator = np.random.default_rng(plan.seed)
    orders = [generator.permutation(len(runners)) for _ in range(plan.rounds)]
    return [[(runners[i], position) for position, i in enumerate(order)] for order in orders]

"""The measurement itself: a process for each subject, rounds interleaved across all of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgedl.artifact import Artifact
from edgedl.measure.environment import environment, finish
from edgedl.measure.joules import Joules
from edgedl.measure.plan import Plan, Subject
from edgedl.measure.record import BenchmarkRecord, Measured
from edgedl.measure.runner import ColdRunner, FeedsOf, Runner
from edgedl.place import HERE, Place
from edgedl.runtime import format_of

Progress = Callable[[int, int], None]
"""(steps done, steps in all)"""


def steps(subjects: int, plan: Plan) -> int:
    """How many steps `progress` will count."""
    return subjects * (plan.rounds + 1)


def measure(
    subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Progress, place: Place = HERE
) -> BenchmarkRecord:
    """Measure all subjects side by side.

    Each has a process of its own; all are loaded and warmed up, then every round gives each a turn, in seeded random
    order; in the mode `sustained` they come one after the other. A subject whose engine crashes, hangs, refuses or gives
    NaN keeps the reason as its `failure`; the others finish.
    InvalidInput where there is no subject. place: where the processes run; the record tells its machine of each subject.
    """
    before, began = environment(), time.perf_counter_ns()
    kind = ColdRunner if plan.mode == "cold" else Runner
    with contextlib.ExitStack() as stack:
        runners = [kind(subject, feeds_of, plan, stack, place, describe(subject), began) for subject in subjects]
        joules = Joules(subjects[0].device if subjects else "cpu", place is HERE)
        for done, (runner, turn) in enumerate(_turns(runners, plan), start=1):
            joules.take(runner, turn)
            progress(done, steps(len(runners), plan))
    return BenchmarkRecord(tuple(map(joules.told, runners)), plan, finish(before), no_energy=joules.reason)


def _turns(runners: list[Runner], plan: Plan) -> Iterator[tuple[Runner, int | None]]:
    """(runner, its position in the round, or None: it is prepared)."""
    if plan.mode == "sustained":
        for runner in runners:
            yield from ((runner, position) for position in [None, *[0] * plan.rounds])
        return
    yield from ((runner, None) for runner in runners)
    generator = np.random.default_rng(plan.seed)
    for _ in range(plan.rounds):
        yield from ((runners[i], position) for position, i in enumerate(generator.permutation(len(runners))))


def describe(subject: Subject) -> Measured:
    """A subject of which nothing is measured yet."""
    source = subject.source
    shared = (subject.runtime, subject.device, subject.threads, subject.options, subject.affinity)
    if not isinstance(source, Artifact):
        return Measured(subject.label, source.text, format_of(source), *shared)
    return Measured(subject.label, source.path.name, source.format, *shared, sha256=source.sha256, size=source.size)

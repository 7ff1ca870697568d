"""The measurement itself: a process for each subject, rounds interleaved across all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, Unavailable
from edgedl.files import sha256
from edgedl.isolated import IsolatedSession
from edgedl.measure.codec import decode
from edgedl.measure.environment import Environment, environment, finish
from edgedl.measure.inputs import Inputs
from edgedl.measure.plan import Plan, Subject
from edgedl.measure.record import BenchmarkRecord, Failure, Measured, Round
from edgedl.place import HERE, Place
from edgedl.runtime import format_of
from edgedl.spec import Feeds, TensorSpec

FeedsOf = Callable[[Subject, tuple[TensorSpec, ...]], Inputs]
"""The inputs of a subject, in exactly the dtypes of its session's input specs; edgedl.measure.InputChoice is one."""
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
    order. A subject whose engine crashes, hangs or refuses keeps the reason as its `failure`; the others finish.
    InvalidInput where there is no subject. place: where the processes run; the record tells its machine of each subject.
    """
    before = environment()
    with contextlib.ExitStack() as stack:
        runners = [_Runner(subject, feeds_of, plan, stack, place, describe(subject)) for subject in subjects]
        for done, (runner, turn) in enumerate(_turns(runners, plan), start=1):
            runner.take(turn)
            progress(done, steps(len(runners), plan))
    return BenchmarkRecord(tuple(runner.measured for runner in runners), plan, finish(before))


def _turns(runners: list[_Runner], plan: Plan) -> list[tuple[_Runner, int | None]]:
    """(runner, its position in the round); first, at position None, each is prepared."""
    generator = np.random.default_rng(plan.seed)
    turns: list[tuple[_Runner, int | None]] = [(runner, None) for runner in runners]
    for _ in range(plan.rounds):
        turns += [(runners[i], position) for position, i in enumerate(generator.permutation(len(runners)))]
    return turns


def describe(subject: Subject) -> Measured:
    """A subject of which nothing is measured yet."""
    source, shared = subject.source, (subject.runtime, subject.device, subject.threads)
    if not isinstance(source, Artifact):
        return Measured(subject.label, source.text, format_of(source), *shared)
    size, digest = source.path.stat().st_size, sha256(source.path)
    return Measured(subject.label, source.path.name, source.format, *shared, sha256=digest, size=size)


def failure_of(error: EdgedlError) -> Failure:
    kinds = (InvalidInput, Unavailable)
    kind = next((kind.__name__ for kind in kinds if isinstance(error, kind)), EngineFailed.__name__)
    return Failure(kind, str(error))


def machine_of(session: IsolatedSession) -> Environment:
    """The environment of the machine that the session runs on."""
    return decode(Environment, session.ask("environment")[0], "environment")


@dataclass
class _Runner:
    """One subject under measurement: its process, and what was found so far."""

    subject: Subject
    feeds_of: FeedsOf
    plan: Plan
    stack: contextlib.ExitStack
    place: Place
    measured: Measured
    session: IsolatedSession = field(init=False)
    feeds: Feeds = field(init=False)

    def take(self, position: int | None) -> None:
        """One turn; a failure ends this subject and no other."""
        if self.measured.failure:
            return
        try:
            self.prepare() if position is None else self.round(position)
        except EdgedlError as error:
            self.found(failure=failure_of(error))

    def prepare(self) -> None:
        subject, plan = self.subject, self.plan
        self.found(target=self.place.name)
        session = IsolatedSession(
            subject.source, subject.runtime, subject.device, subject.threads, plan.timeout, self.place
        )
        self.session = self.stack.enter_context(contextlib.closing(session))
        self.found(engine=session.engine, device=session.device, load_seconds=session.load_seconds)
        if self.place is not HERE:
            self.found(machine=machine_of(session))
        inputs = self.feeds_of(subject, session.inputs)
        self.feeds = inputs.feeds
        self.found(inputs=inputs.kind, input_shapes={name: array.shape for name, array in inputs.feeds.items()})
        self.warm_up()

    def warm_up(self) -> None:
        """Memory is read before the long warm-up, whose samples would count as the engine's."""
        first = self.burst(1, 0)
        self.found(first_ns=first.wall_ns[0])
        self.burst(max(1, self.plan.warmup_runs), 0)
        self.found(**self.session.ask("memory")[0])
        self.burst(1, self.plan.warmup_seconds)

    def round(self, position: int) -> None:
        burst = self.burst(self.plan.runs_per_round, self.plan.seconds_per_round, position)
        self.found(rounds=(*self.measured.rounds, burst))

    def burst(self, runs: int, seconds: float, position: int = 0) -> Round:
        reply, tensors = self.session.ask("measure", self.feeds, runs=runs, seconds=seconds)
        samples = np.maximum(tensors["wall_ns"], 1).tolist()
        return Round(position, tuple(samples), reply["cpu_seconds"], reply["preemptions"])

    def found(self, **figures: Any) -> None:
        self.measured = replace(self.measured, **figures)

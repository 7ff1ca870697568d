"""One subject under measurement: its processes, and what was found so far."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, Unavailable, Unreachable
from edgedl.isolated import IsolatedSession
from edgedl.measure import processors
from edgedl.measure.agreement import agreement
from edgedl.measure.codec import decode
from edgedl.measure.environment import Environment
from edgedl.measure.inputs import Inputs
from edgedl.measure.plan import Plan, Subject
from edgedl.measure.profile import Profile
from edgedl.measure.record import Failure, Measured, Memory, Round, Start
from edgedl.measure.roofline import roofline
from edgedl.place import HERE, Place
from edgedl.spec import Feeds, TensorSpec

FeedsOf = Callable[[Subject, tuple[TensorSpec, ...]], Inputs]
"""The inputs of a subject, in exactly the dtypes of its session's input specs; edgedl.measure.InputChoice is one."""


@dataclass
class Runner:
    """began: nanoseconds of the monotonic clock when the whole measurement began.

    reported: rounds of which there were news. restored: rounds of an earlier run.
    """

    subject: Subject
    feeds_of: FeedsOf
    plan: Plan
    stack: contextlib.ExitStack
    place: Place
    measured: Measured
    began: int
    sessions: list[IsolatedSession] = field(default_factory=list)
    inputs: Inputs | None = None
    reported: int = 0
    restored: int = 0

    def take(self, position: int | None) -> None:
        """One turn: the round at this position, or with None the preparation; a failure ends this subject and no other."""
        if self.measured.failure:
            return
        try:
            self.prepare() if position is None else self.round(position)
        except EdgedlError as error:
            self.found(failure=failure_of(error))

    def news(self) -> dict[str, Any]:
        """What was found since the last news, as JSON."""
        found, known = asdict(self.measured), self.reported
        self.reported = len(found["rounds"])
        return {**found, **{name: found[name][known:] for name in ("rounds", "starts")}}

    def restore(self, news: Mapping[str, Any]) -> None:
        """Take news of an earlier run; InvalidInput if it is none."""
        found = asdict(self.measured)
        merged = {**news, **{name: [*found[name], *news.get(name, ())] for name in ("rounds", "starts")}}
        doubt = "its first rounds are of a run that was interrupted, in another process"
        decoded = decode(Measured, json.loads(json.dumps(merged)), "journal")
        self.measured = replace(decoded, doubts=(doubt,) if decoded.rounds else ())
        self.reported = self.restored = len(self.measured.rounds)

    def prepare(self) -> None:
        """Memory is read before the long warm-up, whose samples would count as the engine's."""
        self.sessions = [self.stack.enter_context(contextlib.closing(self.load())) for _ in range(self.streams)]
        first = self.sessions[0]
        self.told(first)
        self.feed(self.sessions)
        self.found(first_ns=int(first.ask("measure", runs=1, seconds=0)[1]["wall_ns"][0]))
        first.ask("measure", runs=max(1, self.plan.warmup_runs), seconds=0)
        self.remember(first)
        apart, steps = agreement(self.subject.source, first)
        self.found(golden_rms=apart, golden_steps=steps)
        self.burst(0, 1, self.plan.warmup_seconds)

    def round(self, position: int) -> None:
        self.add(self.burst(position, self.plan.runs_per_round, self.plan.seconds_per_round, self.processor()))

    def processor(self) -> int | None:
        """That of the next round, for a subject that computes on one and was not given any; None leaves it to the system."""
        s = self.subject
        if self.plan.mode != "latency" or self.place is not HERE or s.affinity or (s.device, s.threads) != ("cpu", 1):
            return None
        return processors.of_round(len(self.measured.rounds), self.plan.seed)

    def profile(self) -> None:
        """In a process of its own; that it fails is a note, and no failure of what was timed."""
        if self.measured.failure or not self.measured.rounds:
            return
        try:
            with contextlib.closing(self.load()) as session:
                self.feed([session])
                found = decode(Profile, session.ask("profile", runs=self.profile_runs())[0], "profile")
            self.found(profile=self.roofed(found))
        except EdgedlError as error:
            self.found(doubts=(*self.measured.doubts, f"no profile: {error}"))

    def profile_runs(self) -> int:
        """As many as fit in the plan's seconds, from 5 to 200."""
        typical = float(np.median(self.measured.rounds[-1].wall_ns)) / 1e9
        return int(np.clip(self.plan.seconds / typical, 5, 200))

    def roofed(self, profile: Profile) -> Profile:
        """With the machine's roofline, where that is this machine's processor and the engine tells what its operators move."""
        if self.place is not HERE or self.subject.device != "cpu" or not profile.working_set:
            return profile
        return replace(profile, roof=roofline(self.subject.threads or os.cpu_count() or 1, profile.working_set))

    @property
    def streams(self) -> int:
        return self.plan.streams if self.plan.mode == "throughput" else 1

    def load(self, cold: bool = False) -> IsolatedSession:
        s = self.subject
        return IsolatedSession(
            s.source, s.runtime, s.device, s.threads, self.plan.timeout, self.place, s.options, s.affinity, cold
        )

    def told(self, session: IsolatedSession) -> None:
        """Keep what loading told."""
        seconds = {"import_seconds": session.import_seconds, "load_seconds": session.load_seconds}
        self.found(engine=session.engine, device=session.device, **seconds)

    def remember(self, session: IsolatedSession) -> None:
        """Keep its memory, and then what the machine is if it is another: to tell that takes 3 MB, which are not the model's."""
        self.found(memory=Memory(**session.ask("memory")[0]))
        if not self.place.here and self.measured.machine is None:
            self.found(machine=machine_of(session))

    def feed(self, sessions: list[IsolatedSession]) -> None:
        """Give the sessions the inputs that they take in turns, the same ones each time."""
        if self.inputs is None:
            self.inputs = self.feeds_of(self.subject, sessions[0].inputs)
            shapes = {name: array.shape for name, array in self.inputs.feeds.items()}
            self.found(inputs=self.inputs.kind, input_shapes=shapes, input_sets=len(self.inputs.sets))
        sets: Feeds = {f"{n}/{name}": array for n, one in enumerate(self.inputs.sets) for name, array in one.items()}
        for session in sessions:
            session.ask("feed", sets, sets=len(self.inputs.sets))

    def burst(self, position: int, runs: int, seconds: float, processor: int | None = None) -> Round:
        """All streams at once, each until both are reached."""
        wanted = {"runs": runs, "seconds": seconds, "processor": processor}
        at = (time.perf_counter_ns() - self.began) / 1e9
        with ThreadPoolExecutor(len(self.sessions)) as pool:
            asked = [pool.submit(session.ask, "measure", None, **wanted) for session in self.sessions]
        replies = [future.result() for future in asked]
        told = [reply for reply, _ in replies]
        begun, ended = min(reply["begun"] for reply in told), max(reply["ended"] for reply in told)
        return Round.of(
            position,
            np.maximum(np.concatenate([tensors["wall_ns"] for _, tensors in replies]), 1),
            sum(reply["cpu_seconds"] for reply in told),
            sum(reply["preemptions"] for reply in told),
            at=at,
            seconds=(ended - begun) / 1e9,
            megahertz=told[0]["megahertz"],
            celsius=told[0]["celsius"],
            processor=processor,
        )

    def add(self, *rounds: Round) -> None:
        self.found(rounds=(*self.measured.rounds, *rounds))

    def found(self, **figures: Any) -> None:
        self.measured = replace(self.measured, **figures)


class ColdRunner(Runner):
    """Every round is a start: the file out of the page cache, a new process, the engine, the model, one run."""

    def prepare(self) -> None:
        """One start that is not kept: it tells what the model takes, and compiles Python's files."""
        self.start()

    def round(self, position: int) -> None:
        at = (time.perf_counter_ns() - self.began) / 1e9
        start, told = self.start()
        total = start.imported + start.load + start.first
        self.found(starts=(*self.measured.starts, start))
        wall = np.array([max(1, round(1e9 * total))], np.int64)
        figures = (told["cpu_seconds"], told["preemptions"])
        clock = {name: told[name] for name in ("megahertz", "celsius")}
        self.add(Round.of(position, wall, *figures, at=at, seconds=total, **clock))

    def start(self) -> tuple[Start, dict[str, Any]]:
        """The start, and what the worker told of its first run."""
        before = time.perf_counter()
        with contextlib.closing(self.load(cold=True)) as session:
            process = time.perf_counter() - before - session.import_seconds - session.load_seconds
            self.told(session)
            self.feed([session])
            reply, tensors = session.ask("measure", runs=1, seconds=0)
            first = int(tensors["wall_ns"][0])
            self.found(first_ns=first)
            self.remember(session)
        steps = (max(0.0, process), session.import_seconds, session.load_seconds, first / 1e9)
        return Start(*steps, session.evicted), {**reply, "cpu_seconds": reply["cpu_seconds"] + session.load_cpu_seconds}


def failure_of(error: EdgedlError) -> Failure:
    kinds = (InvalidInput, Unreachable, Unavailable)
    kind = next((kind.__name__ for kind in kinds if isinstance(error, kind)), EngineFailed.__name__)
    return Failure(kind, str(error))


def machine_of(session: IsolatedSession) -> Environment:
    """The environment of the machine that the session runs on."""
    return decode(Environment, session.ask("environment")[0], "environment")

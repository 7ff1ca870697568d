"""Whether a model is worse than before, by more than is allowed: what `edgedl check` decides.

A gate fails on a real regression only: the loss is over the limit, and its 95 % interval excludes no loss at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput
from edgedl.measure import statistics
from edgedl.measure.record import BenchmarkRecord, Measured
from edgedl.measure.statistics import Estimate, Figures
from edgedl.measure.summary import PROCESS_SPREAD, between, speedup, times

SESSION_SPREAD = 0.08
"""How far the CPU time of one file may move from one record to the next on one machine, for all else that runs there; see
docs/measure.md for the runs that it was taken from. What is measured side by side has none of it."""


@dataclass(frozen=True)
class Limits:
    """What is allowed; None is not checked.

    slowdown: 0.05 for 5 % more time than the baseline. size: bytes of the model file. drop: of the task's score, below the
    original's.
    """

    slowdown: float | None = None
    size: float | None = None
    drop: float | None = None


@dataclass(frozen=True)
class Gate:
    """One check of one subject. name: `slowdown`, `size` or `drop`.

    state: `passed`, `failed`, or `unclear`: over the limit, but nothing that could be told from noise.
    """

    subject: str
    name: str
    state: str
    sentence: str


def time_gate(current: Measured, baseline: Measured, limit: float, paired: bool, mode: str = "latency") -> Gate:
    """The time of a run against the baseline's; InvalidInput if the baseline has none.

    paired: both are of one record. Across records the CPU time is compared where one thread ran, for it does not count what
    else the machine did.
    """
    if baseline.failure or not baseline.rounds:
        raise InvalidInput(f"the baseline of {current.label} was not measured, so nothing can be held against it")
    if current.failure or not current.rounds:
        why = current.failure.message if current.failure else "it was not timed"
        return Gate(current.label, "slowdown", "failed", f"it could not be measured: {why}")
    if paired:
        gain = speedup(current, baseline, mode)
        loss, what = Estimate(1 / gain.value, 1 / gain.high, 1 / gain.low), "time"
    else:
        loss, what = _across(current, baseline)
    said = f"{times(loss)} the {what} of the baseline ({between(loss)}), allowed {1 + limit:.3g}x"
    return Gate(current.label, "slowdown", _state(loss.value > 1 + limit, loss.low > 1), said)


def _across(current: Measured, baseline: Measured) -> tuple[Estimate, str]:
    by_cpu = current.threads == baseline.threads == 1 and current.device == "cpu"
    figures = _cpu if by_cpu else _wall
    spread = math.hypot(PROCESS_SPREAD, SESSION_SPREAD)
    found = statistics.widened(statistics.unpaired_ratio(figures(current), figures(baseline)), spread)
    return found, "CPU time" if by_cpu else "time"


def _cpu(subject: Measured) -> Figures:
    return np.array([1e9 * max(r.cpu_seconds, 1e-9) / r.runs for r in subject.rounds])


def _wall(subject: Measured) -> Figures:
    return np.array([np.median(r.wall_ns) for r in subject.rounds])


def size_gate(current: Measured, limit: float) -> Gate:
    """The bytes of the model file; InvalidInput for a task, which has none."""
    if current.size is None:
        raise InvalidInput(f"{current.label} is no file, so it has no size to check")
    state = _state(current.size > limit, True)
    return Gate(current.label, "size", state, f"{current.size:,} bytes, allowed {limit:,.0f}")


def drop_gate(artifact: Artifact, limit: float) -> Gate:
    """The drop of the task's score that was proven; InvalidInput where the manifest tells none."""
    score = artifact.manifest.evidence.get("score") if artifact.manifest else None
    if not score:
        raise InvalidInput(
            f"{artifact.path} has no score in its manifest, so no drop can be checked: export it from a task with `evaluate`"
        )
    drop, interval = float(score["drop"]), score.get("interval")
    told = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    state = _state(drop > limit, interval is None or interval[0] > 0)
    said = f"{score['name']} {score['value']:.4f}, {drop:.4f} below the original{told}, allowed {limit:.4f}"
    return Gate(artifact.path.name, "drop", state, said)


def _state(over: bool, real: bool) -> str:
    return "passed" if not over else "failed" if real else "unclear"


def counterpart(current: Measured, baseline: BenchmarkRecord) -> Measured:
    """The same name, engine and threads in the baseline's record; InvalidInput, with what there is, if it has none."""
    same = [s for s in baseline.subjects if _identity(s) == _identity(current)]
    if not same:
        known = ", ".join(s.label for s in baseline.subjects)
        raise InvalidInput(f"the baseline has no {current.label}: it has {known}")
    return same[0]


def _identity(subject: Measured) -> tuple[object, ...]:
    return subject.source, subject.runtime, subject.device, subject.threads, subject.target


def same_machine(current: BenchmarkRecord, baseline: BenchmarkRecord) -> None:
    """InvalidInput where the two records are of different processors or plans: their times do not compare."""
    here, there = current.environment, baseline.environment
    if (here.cpu, here.flags) != (there.cpu, there.flags):
        raise InvalidInput(
            f"the baseline was measured on {there.cpu}, this on {here.cpu}: times of two processors do not compare; "
            "give the baseline's model file to --baseline, and both are measured here, side by side"
        )
    if (current.plan.mode, current.plan.streams) != (baseline.plan.mode, baseline.plan.streams):
        raise InvalidInput(f"the baseline is of the mode {baseline.plan.mode}, this of {current.plan.mode}")


def before(artifact: Artifact, baselines: Sequence[Artifact]) -> Artifact:
    """The baseline of the same file name, else the only one of the same format; InvalidInput if that is not one."""
    named = [b for b in baselines if b.path.name == artifact.path.name]
    alike = named or [b for b in baselines if b.format == artifact.format]
    if len(alike) != 1:
        found = ", ".join(str(b.path) for b in alike) or "none"
        raise InvalidInput(f"expected one --baseline for {artifact.path}, of its name or its format; found {found}")
    return alike[0]

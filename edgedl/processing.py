"""What a device does around a run: the task's own pre- and post-processing, timed on this machine beside the runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput
from edgedl.isolated import IsolatedSession
from edgedl.measure import BenchmarkRecord, Figure, Subject
from edgedl.measure.inputs import MOST_SETS, Inputs, several
from edgedl.measure.statistics import Estimate, median
from edgedl.spec import TensorSpec
from edgedl.task import Processing, Task

ROUNDS = 20
ROUND_SECONDS = 0.02


@dataclass(frozen=True)
class EndToEnd:
    """The processing of each subject, in their order, and what it makes of its raw inputs."""

    subjects: tuple[Subject, ...]
    found: tuple[Processing, ...]

    def feeds_of(self, subject: Subject, specs: tuple[TensorSpec, ...]) -> Inputs:
        """What the subject's own pre-processing makes of the raw inputs, one by one."""
        processing = self.found[self.subjects.index(subject)]
        return Inputs(tuple(several([processing.before(raw) for raw in raws(processing)], specs, 1)), "task")

    def told(self, record: BenchmarkRecord) -> BenchmarkRecord:
        """The record with the figures `preprocessing`, `postprocessing` and `end to end` of each subject that ran, in ns."""
        whole = zip(record.subjects, record.summaries, self.subjects, self.found, strict=True)
        return replace(
            record,
            subjects=tuple(
                replace(measured, figures=(*measured.figures, *figures(subject, processing, summary.median_ns)))
                if summary
                else measured
                for measured, summary, subject, processing in whole
            ),
        )


def end_to_end(subjects: Sequence[Subject]) -> EndToEnd:
    """InvalidInput for a subject whose task has no processing, or that leads to no task."""
    return EndToEnd(tuple(subjects), tuple(map(processing_of, subjects)))


def processing_of(subject: Subject) -> Processing:
    task = _task(subject)
    if task is None or task.processing is None:
        reason = "its manifest names no task" if task is None else f"the task {task.name} has no processing"
        raise InvalidInput(f"--end-to-end: {subject.label}: {reason}; see docs/measure.md")
    return task.processing


def _task(subject: Subject) -> Task | None:
    from edgedl.exporting import resolve
    from edgedl.quantizing import original_of

    source = subject.source
    return original_of(source, None) if isinstance(source, Artifact) else resolve(source)[0]


def raws(processing: Processing) -> list[Any]:
    found = list(islice(processing.raw(), MOST_SETS))
    if not found:
        raise InvalidInput("--end-to-end: the task's processing gives no raw inputs")
    return found


def figures(subject: Subject, processing: Processing, run: Estimate) -> list[Figure]:
    """run: of the engine alone, in nanoseconds, as the others."""
    given = raws(processing)
    with IsolatedSession(subject.source, subject.runtime, subject.device, subject.threads) as session:
        outputs = [session.run(processing.before(raw)) for raw in given]
    before, after = timed(processing.before, given), timed(processing.after, outputs)
    whole = Estimate(*(sum(parts) for parts in zip(*map(_three, (before, run, after)), strict=True)))
    return [_figure("preprocessing", before), _figure("postprocessing", after), _figure("end to end", whole)]


def timed(work: Callable[[Any], Any], given: Sequence[Any]) -> Estimate:
    """The median of a call in wall nanoseconds, the arguments taking turns; rounds of ROUND_SECONDS after a warm-up."""
    for one in given:
        work(one)
    return median([_round(work, given) for _ in range(ROUNDS)])


def _round(work: Callable[[Any], Any], given: Sequence[Any]) -> np.ndarray:
    clock, samples, end = time.perf_counter_ns, [], time.perf_counter_ns() + int(ROUND_SECONDS * 1e9)
    while clock() < end:
        for one in given:
            began = clock()
            work(one)
            samples.append(clock() - began)
    return np.array(samples, np.int64)


def _three(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _figure(name: str, estimate: Estimate) -> Figure:
    return Figure(name, estimate.value, "ns", "measured", estimate.low, estimate.high)

"""One way to carry a scheme out, made and held against the original."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.delivery import Reference, cases_of, prove_session
from edgedl.errors import EdgedlError
from edgedl.exporter import QuantizationOptions
from edgedl.isolated import IsolatedSession
from edgedl.quantizing import Job
from edgedl.task import Predict, Score


@dataclass(frozen=True)
class Trial:
    """passed: the gate would open. drop: of the task's score, in its unit; None where it has none, or nothing could be made.

    excess: what of the drop is over the budget. relative_rms: the worst of all outputs. size: bytes. seconds: what it took.
    failure: why it could not be made or did not pass.
    """

    options: QuantizationOptions
    passed: bool
    drop: float | None
    excess: float
    relative_rms: float
    size: int
    seconds: float
    failure: str = ""

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The lower, the better."""
        return not self.passed, self.excess, self.relative_rms


def run_trial(job: Job, options: QuantizationOptions, path: Path) -> Trial:
    """Write the file to `path`, run the cases and the score."""
    began = time.monotonic()
    try:
        job.write(options, path)
        with IsolatedSession(Artifact(path), job.exporter.runtimes[0]) as session:
            evidence = prove_session(session, job.reference, job.scheme, cases_of(session, job.reference))
    except EdgedlError as error:
        infinite = float("inf")
        return Trial(options, False, None, infinite, infinite, 0, time.monotonic() - began, str(error))
    drop = evidence.score.drop if evidence.score else None
    excess = max(0.0, drop - job.scheme.tolerance.max_drop) if drop is not None else 0.0
    worst = max((p.relative_rms if p.finite else float("inf") for p in evidence.parity), default=0.0)
    failure = evidence.failures[0] if evidence.failures else ""
    return Trial(options, evidence.passed, drop, excess, worst, path.stat().st_size, time.monotonic() - began, failure)


def scored_once(job: Job) -> Job:
    """The job with an original whose score is taken once, and not again in each trial."""
    evaluate, predict = job.reference.evaluate, job.reference.predict
    if evaluate is None:
        return job
    of_original = functools.cache(lambda: evaluate(predict))

    def remembered(candidate: Predict) -> Score:
        return of_original() if candidate is predict else evaluate(candidate)

    reference: Reference = replace(job.reference, evaluate=remembered)
    return replace(job, reference=reference)

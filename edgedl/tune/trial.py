"""One way to carry a scheme out, made and held against the original."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.delivery import cases_of, prove_session
from edgedl.errors import EdgedlError
from edgedl.exporter import QuantizationOptions
from edgedl.isolated import IsolatedSession
from edgedl.quantizing import Job
from edgedl.tune.examples import Scorer
from edgedl.verify.evidence import over_budget


@dataclass(frozen=True)
class Trial:
    """passed: the gate would open. drop: of the task's score, in its unit; None where it has none, or nothing could be made.

    excess: what of the drop is over the budget. relative_rms: the worst of all outputs. size: bytes. seconds: what it took.
    failure: why it could not be made or did not pass. scored: on so many of the `examples`, drawn with seed 0; None for all.
    """

    options: QuantizationOptions
    passed: bool
    drop: float | None
    excess: float
    relative_rms: float
    size: int
    seconds: float
    failure: str = ""
    scored: int | None = None
    examples: int | None = None

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The lower, the better."""
        return not self.passed, self.excess, self.relative_rms


def run_trial(job: Job, scorer: Scorer, options: QuantizationOptions, path: Path, whole: bool = False) -> Trial:
    """Write the file to `path`, run the cases and the score; whole: on all examples, whatever a part of them says."""
    began = time.monotonic()
    budget = job.scheme.tolerance.max_drop
    try:
        job.write(options, path)
        with IsolatedSession(Artifact(path), job.exporter.runtimes[0], foreign=False) as session:
            unscored = replace(job.reference, evaluate=None)
            evidence = prove_session(session, unscored, job.scheme, cases_of(session, job.reference))
            score, count = scorer.drop(job.reference.adapter.through(session), budget, whole)
    except EdgedlError as error:
        infinite = float("inf")
        return Trial(options, False, None, infinite, infinite, 0, time.monotonic() - began, str(error))
    worst = max((p.relative_rms if p.finite else float("inf") for p in evidence.parity), default=0.0)
    failures = (*evidence.failures, *over_budget(score, job.scheme.tolerance))
    return Trial(
        options, not failures, score.drop, max(0.0, score.drop - budget), worst, path.stat().st_size,
        time.monotonic() - began, failures[0] if failures else "", count, scorer.examples if count else None,
    )  # fmt: skip


def scored_once(job: Job) -> tuple[Job, Scorer]:
    """The job with an original whose score is taken once, and not again in each trial; and what scores candidates."""
    assert job.reference.evaluate
    scorer = Scorer(job.reference.evaluate, job.reference.predict)
    return replace(job, reference=replace(job.reference, evaluate=scorer)), scorer

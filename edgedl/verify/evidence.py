"""Everything that was measured to prove an artifact, and whether the gate opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedl.errors import EdgedlError, InvalidReference
from edgedl.schemes import Tolerance
from edgedl.source_lines import described
from edgedl.spec import Feeds
from edgedl.task import Predict, Score
from edgedl.verify.parity import Parity, compare

Drift = tuple[tuple[int, float], ...]
"""(step, relative RMS error of that step) along the longest sequence of a step model"""


@dataclass(frozen=True)
class ScoreDrop:
    """The task's score of the artifact beside the reference's.

    drop: how much worse, in the score's unit (negative where it is better). interval: 95 % bootstrap interval of the
    drop over paired examples, None where the score has no samples.
    """

    name: str
    value: float
    reference: float
    drop: float
    interval: tuple[float, float] | None
    higher_is_better: bool


@dataclass(frozen=True)
class Match:
    """Of an encoder-decoder: the share of decoded sequences that are those of the reference, token for token, and the least that passes."""

    sequences: int
    equal: float
    least: float


@dataclass(frozen=True)
class Evidence:
    """What was proven, on which inputs, against what and how tightly; `failures` is empty where the gate opens."""

    reference: str
    engine: str
    inputs: str
    tolerance: Tolerance
    parity: tuple[Parity, ...]
    score: ScoreDrop | None
    failures: tuple[str, ...]
    drift: Drift = ()
    match: Match | None = None

    @property
    def passed(self) -> bool:
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}


def prove(
    candidate: Predict,
    reference: Predict,
    cases: Mapping[str, Feeds],
    tolerance: Tolerance,
    evaluate: Callable[[Predict], Score] | None = None,
    *,
    scored: Predict | None = None,
    reference_name: str,
    engine: str,
    inputs: str,
    drift: Callable[[Feeds, Feeds], Drift] = lambda got, want: (),
) -> Evidence:
    """Run every case and the score through the candidate and the reference, both over task inputs; the last case drifts.

    scored: the model whose score is the yardstick; by default the reference.
    """
    parity: list[Parity] = []
    for case, feeds in cases.items():
        want = reference(feeds)
        got = candidate(feeds)
        parity += _held(case, got, want, tolerance)
    score = dropped(evaluate, scored or reference, candidate)
    failures = _failures(tuple(parity), score, tolerance)
    return Evidence(reference_name, engine, inputs, tolerance, tuple(parity), score, failures, drift(got, want))


def dropped(evaluate: Callable[[Predict], Score] | None, reference: Predict, candidate: Predict) -> ScoreDrop | None:
    """The drop from the reference's score to the candidate's, where there is a score."""
    return score_drop(scored(evaluate, reference), scored(evaluate, candidate)) if evaluate else None


def scored(evaluate: Callable[[Predict], Score], predict: Predict) -> Score:
    """The score; InvalidReference with the user's line for what `evaluate` raises."""
    try:
        return evaluate(predict)
    except EdgedlError:
        raise
    except Exception as error:
        raise InvalidReference(f"the task's evaluate raised {described(error)}") from error


def _held(case: str, got: Feeds, want: Feeds, tolerance: Tolerance) -> list[Parity]:
    return [compare(case, name, got[name], want[name], tolerance.relative_rms) for name in want]


def _failures(parity: tuple[Parity, ...], score: ScoreDrop | None, tolerance: Tolerance) -> tuple[str, ...]:
    failures = [f"output {p.output!r} at {p.case}: {p.failure}" for p in parity if p.failure]
    return (*failures, *over_budget(score, tolerance))


def over_budget(score: ScoreDrop | None, tolerance: Tolerance) -> tuple[str, ...]:
    """One sentence where more of the score is lost than may be."""
    if not score or score.drop <= tolerance.max_drop:
        return ()
    return (
        f"{score.name} falls from {score.reference:.4g} to {score.value:.4g}, over the budget of {tolerance.max_drop:.4g}",
    )


def score_drop(reference: Score, candidate: Score, resamples: int = 2000) -> ScoreDrop:
    """The drop from the reference to the candidate, with its interval where both have samples of the same examples."""
    sign = 1.0 if reference.higher_is_better else -1.0
    interval = None
    if reference.samples and len(reference.samples) == len(candidate.samples):
        differences = sign * (np.asarray(reference.samples) - np.asarray(candidate.samples))
        means = np.random.default_rng(0).choice(differences, (resamples, len(differences))).mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        interval = (float(low), float(high))
    drop = sign * (reference.value - candidate.value)
    return ScoreDrop(reference.name, candidate.value, reference.value, drop, interval, reference.higher_is_better)

"""Everything that was measured to prove an artifact, and whether the gate opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedl.errors import EdgedlError, InvalidReference
from edgedl.schemes import Tolerance
from edgedl.source_lines import described
from edgedl.spec import Array, Feeds
from edgedl.task import Predict, Score
from edgedl.verify.edges import Edge, EdgePlan, judge_edges, rms
from edgedl.verify.parity import Parity, compare
from edgedl.verify.slices import HARDLY, Joined, Part, Run, judged

AGAIN = 1e-5
"""rms of the difference of two calls / rms: engines may add in another order."""
NO_EDGES = EdgePlan()
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
    """What was proven, on which inputs, against what and how tightly; `failures` is empty where the gate opens.

    parts: every output over all cases, each followed by its parts. notes: sentences on what the proof is worth. edges: what
    came of inputs that real ones seldom are; they count for no figure of the others.
    """

    reference: str
    engine: str
    inputs: str
    tolerance: Tolerance
    parity: tuple[Parity, ...]
    score: ScoreDrop | None
    failures: tuple[str, ...]
    drift: Drift = ()
    match: Match | None = None
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def constant(self) -> bool:
        """Whether no output of the reference depends on the input."""
        outputs = [part for part in self.parts if not part.where]
        return bool(outputs) and all(part.constant for part in outputs)

    @property
    def only_edges(self) -> bool:
        """Whether all that failed are edges."""
        return bool(self.failures) and len(self.failures) == sum(bool(edge.failure) for edge in self.edges)

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
    joined: Callable[[Feeds], Mapping[str, Joined]] = lambda feeds: {},
    edges: EdgePlan = NO_EDGES,
) -> Evidence:
    """Run every case and the score through the candidate and the reference, both over task inputs; the last case drifts.

    scored: the model whose score is the yardstick; by default the reference. joined: which element of an output belongs to
    which of the parts that were concatenated. edges: tried besides.
    """
    parity: list[Parity] = []
    runs: dict[str, list[Run]] = {}
    for case, feeds in cases.items():
        want, labels = _original(reference, case, feeds), joined(feeds)
        got = candidate(feeds)
        parity += _held(case, got, want, tolerance)
        for name in want:
            runs.setdefault(name, []).append(Run(got[name], want[name], labels.get(name), _by_row(feeds, want[name])))
    score = dropped(evaluate, scored or reference, candidate)
    parts = tuple(part for name in runs for part in judged(name, runs[name], tolerance))
    failures = (*_failures(tuple(parity), score, tolerance), *_of_parts(parts), *_constant(parts, tolerance))
    drifted, again = drift(got, want), _run_again(candidate, feeds, got)
    sizes = {name: max(rms(run.want) for run in runs[name]) for name in runs}
    tried = judge_edges(edges, candidate, reference, tolerance, sizes)
    return Evidence(
        reference_name, engine, inputs, tolerance, tuple(parity), score, (*failures, *again, *_at_edges(tried)), drifted, None,
        parts, (*_notes(parts), *_not_held(tried)), tried,
    )  # fmt: skip


def _run_again(candidate: Predict, feeds: Feeds, first: Feeds) -> tuple[str, ...]:
    """One sentence where a second call gives something else, or the inputs are written to."""
    before = {name: np.array(array) for name, array in feeds.items()}
    second = candidate(feeds)
    changed = [name for name, array in before.items() if array.tobytes() != np.asarray(feeds[name]).tobytes()]
    failures = [f"the file writes into its input {name!r}" for name in changed]
    unlike = [name for name in first if compare("", name, second[name], first[name], AGAIN).failure]
    return (*failures, *(f"output {name!r} differs when the same inputs are run again" for name in unlike))


def _at_edges(edges: tuple[Edge, ...]) -> tuple[str, ...]:
    return tuple(
        f"output {edge.output!r} at {edge.case}: {edge.failure}" if edge.output else f"at {edge.case}: {edge.failure}"
        for edge in edges
        if edge.failure
    )


def _not_held(edges: tuple[Edge, ...]) -> tuple[str, ...]:
    """One sentence on the edges that say nothing of the file."""
    told = dict.fromkeys(f"{edge.case} ({edge.note})" for edge in edges if edge.note)
    return (f"not held at the edges: {', '.join(told)}",) if told else ()


def _original(reference: Predict, case: str, feeds: Feeds) -> dict[str, Array]:
    """What the original makes of a case; InvalidReference with the user's line for what it raises."""
    try:
        return dict(reference(feeds))
    except EdgedlError:
        raise
    except Exception as error:
        raise InvalidReference(f"the original raised {described(error)} on the inputs of {case!r}") from error


def _by_row(feeds: Feeds, output: Array) -> bool:
    """Whether the first axis of an output holds one item for each row of the inputs."""
    rows = next((len(array) for array in feeds.values() if np.ndim(array)), None)
    return bool(output.ndim) and len(output) == rows


def _of_parts(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """The worst first."""
    failed = sorted(
        (part for part in parts if part.failure), key=lambda part: -max(part.relative_rms, part.variation or 0)
    )
    return tuple(f"{part.name}: {part.failure}" for part in failed)


def _constant(parts: tuple[Part, ...], tolerance: Tolerance) -> tuple[str, ...]:
    """One sentence where no output depends on the input: then nothing is proven."""
    outputs = [part for part in parts if not part.where]
    if tolerance.constant or not outputs or not all(part.constant for part in outputs):
        return ()
    which = (
        f"output {outputs[0].output!r} of the original does" if len(outputs) == 1 else "the outputs of the original do"
    )
    return (
        f"{which} not depend on the input, so nothing is proven: give trained weights (--weights) or real rows (--calibration), "
        "or add --allow-constant",
    )


def _notes(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """What varies so little with the input that its proof says little, and what would help."""
    still = [part.name for part in parts if part.constant]
    faint = [part for part in parts if not part.constant and part.varies is not None and part.varies < HARDLY]
    notes = [f"{', '.join(still)}: the same for every input"] if still else []
    notes += [
        f"{part.name} hardly varies with the input ({part.varies:.1g} of its magnitude), so this proves little: "
        "give trained weights (--weights) or real rows (--calibration)"
        for part in faint[:1]
    ]
    return tuple(notes)


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

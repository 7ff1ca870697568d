"""The score of a candidate on as many held-out examples as it takes to say which side of the budget it is on.

A task's `evaluate` runs over all examples and cannot be cut. So it is given a predict function that runs the candidate on some rows,
and answers the others with what the original said, which was remembered: their samples are then the original's. That holds
where there is one sample for each row, in the order of the rows; where there is not, or a sample of another row changes, every
candidate is scored on all examples.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgedl.spec import Array, Feeds
from edgedl.task import Predict, Score
from edgedl.verify.evidence import ScoreDrop, score_drop, scored

FIRST = 256
"""Examples of the first look; each further one has twice as many."""
LEAST = 4
"""Looks at a part pay from so many times FIRST examples on."""
LARGEST = 1 << 29
"""Bytes of outputs that are remembered; with more, every candidate is scored on all examples."""


@dataclass(frozen=True)
class _Call:
    """One call of predict by evaluate. start: how many rows came before. outputs: the original's, a row for each."""

    start: int
    rows: int
    inputs: str
    outputs: dict[str, Array]


class Scorer:
    """A task's evaluate that remembers the original's answers; called, it scores a predict function on all examples."""

    def __init__(self, evaluate: Callable[[Predict], Score], original: Predict, first: int = FIRST) -> None:
        self._evaluate, self._predict, self._first = evaluate, original, first
        self._calls: list[_Call] = []

    def __call__(self, candidate: Predict) -> Score:
        return self.original if candidate is self._predict else scored(self._evaluate, candidate)

    @functools.cached_property
    def original(self) -> Score:
        """Scored once; what it answers is kept."""
        recorder = _Recorder(self._predict)
        score = scored(self._evaluate, recorder)
        self._calls = recorder.calls if _is_by_row(score, recorder) and recorder.rows >= LEAST * self._first else []
        return score

    @property
    def examples(self) -> int | None:
        """How many there are, where a part of them can be scored."""
        return len(self.original.samples) if self.original.samples and self._calls else None

    def drop(self, candidate: Predict, budget: float, whole: bool = False) -> tuple[ScoreDrop, int | None]:
        """The drop, and on how many examples it was taken: as few as decide, by a 95 % interval; None for all.

        whole: all of them, whatever a part says.
        """
        original = self.original
        if self._calls and not whole:
            found = self._by_parts(candidate, budget)
            if found is not None:
                return found
            self._calls = []
        return score_drop(original, self(candidate)), None

    def _by_parts(self, candidate: Predict, budget: float) -> tuple[ScoreDrop, int | None] | None:
        """None where a part cannot be told from the rest."""
        count = len(self.original.samples)
        order, part = np.random.default_rng(0).permutation(count), _Part(self._calls, candidate)
        for size in _sizes(self._first, count):
            rows = np.sort(order[:size])
            score = scored(self._evaluate, part.with_rows(rows))
            if part.broken or not _apart_only_in(rows, self.original, score):
                return None
            drop = score_drop(_of(self.original, rows), _of(score, rows))
            if size < count and drop.interval and (drop.interval[0] > budget or drop.interval[1] <= budget):
                return drop, size
        return score_drop(self.original, score), None


def _sizes(first: int, count: int) -> list[int]:
    """Twice as many each time, up to half of the examples, then all of them."""
    sizes = []
    while first <= count // 2:
        sizes.append(first)
        first *= 2
    return [*sizes, count]


class _Recorder:
    """The original, and what it was asked and answered; `rows` is 0 where an answer has no row for each row asked for."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self.calls: list[_Call] = []
        self.rows = self._bytes = 0
        self._failed = False

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        outputs = dict(self._predict(feeds))
        rows = {len(array) if np.ndim(array) else 0 for array in (*feeds.values(), *outputs.values())}
        self._bytes += sum(array.nbytes for array in outputs.values())
        if len(rows) != 1 or self._failed or self._bytes > LARGEST:
            self._failed, self.calls, self.rows = True, [], 0
            return outputs
        (count,) = rows
        kept = {name: array.copy() for name, array in outputs.items()}
        self.calls.append(_Call(self.rows, count, _digest(feeds), kept))
        self.rows += count
        return outputs


class _Part:
    """The candidate on some rows, what the original said on the others. broken: evaluate asks otherwise than it did."""

    def __init__(self, calls: list[_Call], candidate: Predict) -> None:
        self._calls, self._candidate, self.broken = calls, candidate, False
        self._outputs = [{name: array.copy() for name, array in call.outputs.items()} for call in calls]
        self._known = [np.zeros(call.rows, bool) for call in calls]

    def with_rows(self, rows: Array) -> Predict:
        """For one run of evaluate; rows: ascending, those of earlier runs among them."""
        numbers = iter(range(len(self._calls)))

        def predict(feeds: Feeds) -> dict[str, Array]:
            number = next(numbers, None)
            if number is None or self._calls[number].inputs != _digest(feeds):
                self.broken = True
            if self.broken or number is None:
                return dict(self._candidate(feeds))
            self._complete(number, feeds, rows)
            return {name: array.copy() for name, array in self._outputs[number].items()}

        return predict

    def _complete(self, number: int, feeds: Feeds, rows: Array) -> None:
        call, known, outputs = self._calls[number], self._known[number], self._outputs[number]
        wanted = np.zeros(call.rows, bool)
        wanted[rows[(rows >= call.start) & (rows < call.start + call.rows)] - call.start] = True
        new = wanted & ~known
        if not new.any():
            return
        got = self._candidate({name: array[new] for name, array in feeds.items()})
        if any(got[name].shape[1:] != array.shape[1:] for name, array in outputs.items()):
            self.broken = True
            return
        for name, array in outputs.items():
            array[new] = got[name]
        known |= new


def _is_by_row(score: Score, recorder: _Recorder) -> bool:
    """A sample for each row, whose mean is the score."""
    same = len(score.samples) == recorder.rows > 0
    return same and bool(np.isclose(np.mean(score.samples), score.value))


def _apart_only_in(rows: Array, original: Score, score: Score) -> bool:
    if len(score.samples) != len(original.samples):
        return False
    apart = np.flatnonzero(np.asarray(original.samples) != np.asarray(score.samples))
    return bool(np.isin(apart, rows).all())


def _of(score: Score, rows: Array) -> Score:
    """The score of these examples."""
    samples = np.asarray(score.samples)[rows]
    return Score(score.name, float(samples.mean()), score.higher_is_better, tuple(samples.tolist()))


def _digest(feeds: Feeds) -> str:
    found = hashlib.sha256()
    for name, array in feeds.items():
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()

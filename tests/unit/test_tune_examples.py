"""Candidates are scored on as many examples as it takes, and never on rows that a task mixes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgedl.errors import InvalidReference
from edgedl.spec import Array, Feeds
from edgedl.task import Predict, Score
from edgedl.tune.examples import Scorer

COUNT, FIRST = 2000, 50
ROWS = np.arange(COUNT, dtype=np.float32)[:, None]
BUDGET = 0.02


def original(feeds: Feeds) -> dict[str, Array]:
    return {"y": feeds["x"] * 1}


class Candidate:
    """Wrong in every row whose number is a multiple of `every`; counts the rows that it was asked for."""

    def __init__(self, every: int) -> None:
        self.every, self.rows = every, 0

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        self.rows += len(feeds["x"])
        return {"y": np.where(feeds["x"] % self.every == 0, -1, feeds["x"])}


def hits(predict: Predict, batch: int = 300) -> Array:
    parts = [predict({"x": ROWS[start : start + batch]})["y"] for start in range(0, COUNT, batch)]
    return (np.concatenate(parts) == ROWS).mean(1)


def scored(samples: Array) -> Score:
    return Score("accuracy", float(samples.mean()), samples=tuple(map(float, samples)))


def evaluate(predict: Predict) -> Score:
    return scored(hits(predict))


@pytest.mark.parametrize("every", [2, 5])
def test_a_bad_candidate_is_known_by_a_few_examples(every: int) -> None:
    candidate, scorer = Candidate(every), Scorer(evaluate, original, FIRST)
    drop, count = scorer.drop(candidate, BUDGET)
    assert count in (FIRST, 2 * FIRST)
    assert candidate.rows == count
    assert drop.drop == pytest.approx(1 / every, abs=0.1)
    assert drop.interval
    assert drop.interval[0] > BUDGET
    assert scorer.examples == COUNT


def test_a_good_one_too() -> None:
    candidate = Candidate(10 * COUNT)  # row 0 alone
    drop, count = Scorer(evaluate, original, FIRST).drop(candidate, BUDGET)
    assert (drop.drop, count, candidate.rows) == (0, FIRST, FIRST)


def test_what_a_part_cannot_decide_is_scored_on_all_and_runs_each_row_once() -> None:
    candidate = Candidate(50)  # the budget itself
    drop, count = Scorer(evaluate, original, FIRST).drop(candidate, BUDGET)
    assert (drop.drop, count, candidate.rows) == (pytest.approx(0.02), None, COUNT)
    assert drop.interval == Scorer(evaluate, original, COUNT).drop(Candidate(50), BUDGET)[0].interval


def test_all_examples_where_they_are_asked_for() -> None:
    drop, count = Scorer(evaluate, original, FIRST).drop(Candidate(2), BUDGET, whole=True)
    assert (drop.drop, count) == (0.5, None)


def backwards(predict: Predict) -> Score:
    return scored(hits(predict)[::-1])


def ranked(predict: Predict) -> Score:
    """Every sample depends on every row, as that of an area under a curve does."""
    found = hits(predict)
    return scored(found * found.mean())


def in_pairs(predict: Predict) -> Score:
    return scored(hits(predict).reshape(-1, 2).mean(1))


def without_samples(predict: Predict) -> Score:
    return Score("accuracy", float(hits(predict).mean()))


def of_another_mean(predict: Predict) -> Score:
    found = hits(predict)
    return Score("squared", float(found.mean() ** 2) + 0.5, samples=tuple(map(float, found)))


def asking_back(predict: Predict) -> Score:
    """What is asked depends on what was answered."""
    return scored((predict({"x": predict({"x": ROWS})["y"]})["y"] == ROWS).mean(1))


def shuffling() -> Callable[[Predict], Score]:
    generator = np.random.default_rng(0)

    def evaluate(predict: Predict) -> Score:
        order = generator.permutation(COUNT)
        return scored((predict({"x": ROWS[order]})["y"] == ROWS[order]).mean(1))

    return evaluate


@pytest.mark.parametrize(
    "evaluate", [backwards, ranked, in_pairs, without_samples, of_another_mean, asking_back, shuffling()]
)
def test_a_task_whose_rows_cannot_be_told_apart_is_scored_on_all(evaluate: Callable[[Predict], Score]) -> None:
    scorer, want = Scorer(evaluate, original, FIRST), evaluate(original).value - evaluate(Candidate(2)).value
    for _ in range(2):
        drop, count = scorer.drop(Candidate(2), BUDGET)
        assert (drop.drop, count, scorer.examples) == (pytest.approx(want), None, None)


def test_a_small_set_is_always_whole() -> None:
    assert Scorer(evaluate, original, COUNT // 3).drop(Candidate(2), BUDGET)[1] is None


def test_the_original_is_scored_once() -> None:
    asked = Candidate(10 * COUNT)
    scorer = Scorer(evaluate, asked, FIRST)
    assert scorer(asked) == scorer(asked) == scorer.original
    scorer.drop(Candidate(2), BUDGET)
    assert asked.rows == COUNT


def test_an_evaluate_that_changes_what_it_is_given() -> None:
    def evaluate(predict: Predict) -> Score:
        y = predict({"x": ROWS})["y"]
        y -= ROWS
        return scored((y == 0).mean(1))

    for _ in range(2):
        scorer = Scorer(evaluate, original, FIRST)
        assert scorer.original.value == 1
        assert scorer.drop(Candidate(2), BUDGET)[0].drop == pytest.approx(0.5, abs=0.15)


def test_an_evaluate_that_raises() -> None:
    def evaluate(predict: Predict) -> Score:
        raise KeyError("no such label")

    with pytest.raises(InvalidReference, match="the task's evaluate raised"):
        Scorer(evaluate, original).drop(Candidate(2), BUDGET)

"""The share of decoded sequences that are the reference's, and the score, of functions that decode nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgedl.errors import InvalidReference
from edgedl.schemes import SCHEMES, Tolerance
from edgedl.spec import Array, Feeds
from edgedl.task import Predict, Score
from edgedl.verify import Evidence
from edgedl.verify.sequences import prove_sequences

BATCHES = [{"source": np.arange(8).reshape(4, 2)}] * 2


def echo(feeds: Feeds) -> dict[str, Array]:
    return {"tokens": feeds["source"]}


def wrong_in(*rows: int) -> Predict:
    def predict(feeds: Feeds) -> dict[str, Array]:
        tokens = feeds["source"].copy()
        tokens[list(rows), 1] += 1
        return {"tokens": tokens}

    return predict


def proven(candidate: Predict, tolerance: Tolerance, evaluate: Any = None) -> Evidence:
    return prove_sequences(
        candidate, echo, BATCHES, tolerance, evaluate, reference_name="torch", engine="ort", inputs="calibration"
    )


def ends_right(predict: Predict) -> Score:
    right = predict({"source": np.arange(20).reshape(10, 2)})["tokens"][:, 1] % 2
    return Score("right", float(right.mean()), samples=tuple(map(float, right)))


def test_a_sequence_counts_as_a_whole() -> None:
    evidence = proven(wrong_in(1), SCHEMES["w8"].tolerance)
    assert evidence.match and evidence.match.equal == 0.75 and evidence.match.sequences == 8
    assert evidence.passed
    assert proven(wrong_in(), SCHEMES["fp32"].tolerance).passed


def test_too_few_close_the_gate() -> None:
    evidence = proven(wrong_in(1), Tolerance(1, 1, 0.8))
    assert evidence.failures == ("75.0% of 8 decoded sequences are the reference's, fewer than 80.0%",)


def test_what_the_score_decodes_counts_too() -> None:
    evidence = proven(wrong_in(0), Tolerance(1, 0.2, 0.5), ends_right)
    assert evidence.match and evidence.match.sequences == 18
    assert evidence.match.equal == pytest.approx(1 - 3 / 18)
    assert evidence.score and evidence.score.drop == pytest.approx(0.1)
    assert evidence.passed


def test_a_lost_score_closes_the_gate() -> None:
    (failure,) = proven(wrong_in(0), Tolerance(1, 0.05), ends_right).failures
    assert failure == "right falls from 1 to 0.9, over the budget of 0.05"


def test_data_that_change_are_refused() -> None:
    sizes = iter((2, 3))

    def evaluate(predict: Predict) -> Score:
        predict({"source": np.zeros((next(sizes), 2), np.int64)})
        return Score("none", 0.0)

    with pytest.raises(InvalidReference, match="asks for other inputs at every call"):
        proven(echo, SCHEMES["w8"].tolerance, evaluate)

from __future__ import annotations

import numpy as np
import pytest

from edgedl import Score
from edgedl.adapter import Direct
from edgedl.errors import InvalidReference
from edgedl.runtime import Session
from edgedl.schemes import Tolerance
from edgedl.spec import Feeds, TensorSpec
from edgedl.task import Predict
from edgedl.verify import prove
from edgedl.verify.evidence import Evidence, score_drop


class Doubler(Session):
    """y = 2 x + error, in a fixed batch of 4."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__((TensorSpec("x", (4,), "float32"),), (TensorSpec("y", (4,), "float32"),), "fake 1", "cpu")
        self.error = np.float32(error)

    def _invoke(self, feeds: Feeds) -> dict[str, np.ndarray]:
        assert feeds["x"].shape == (4,)
        return {"y": feeds["x"] * 2 + self.error}


X = np.arange(1, 11, dtype=np.float32)


def proven(error: float, **options: object) -> Evidence:
    session = Doubler(error)
    return prove(
        Direct().through(session), lambda feeds: {"y": feeds["x"] * 2}, {"all": {"x": X}}, Tolerance(0.01, 0.1),
        reference_name="ref", engine=session.engine, inputs="example", **options,  # type: ignore[arg-type]
    )  # fmt: skip


def mean(predict: Predict) -> Score:
    return Score("mean", float(predict({"x": X})["y"].mean()), higher_is_better=False)


def test_passes_in_batches_of_the_model() -> None:
    evidence = proven(0)
    assert evidence.passed
    assert evidence.parity[0].shape == (10,)
    assert evidence.to_dict()["passed"] is True
    assert (evidence.engine, evidence.reference, evidence.inputs) == ("fake 1", "ref", "example")


def test_the_first_failure_is_a_sentence() -> None:
    assert proven(1).failures[0].startswith("output 'y' at all: relative RMS error 0.08")


def test_the_score_has_a_budget_of_its_own() -> None:
    assert proven(0.09, evaluate=mean).failures == ()
    assert proven(0.11, evaluate=mean).failures == ("mean falls from 11 to 11.11, over the budget of 0.1",)


def test_an_evaluate_that_raises_is_the_users_error() -> None:
    with pytest.raises(
        InvalidReference, match=r"evaluate raised KeyError: 'logits' \(.*test_verify_evidence\.py:\d+\)"
    ):
        proven(0, evaluate=lambda predict: Score("s", float(predict({"x": X})["logits"].mean())))


def test_drop_follows_the_direction() -> None:
    assert score_drop(Score("accuracy", 0.9), Score("accuracy", 0.8)).drop == pytest.approx(0.1)
    assert score_drop(Score("error", 0.1, False), Score("error", 0.3, False)).drop == pytest.approx(0.2)
    assert score_drop(Score("accuracy", 0.8), Score("accuracy", 0.9)).drop == pytest.approx(-0.1)


def test_interval_needs_pairs() -> None:
    assert score_drop(Score("a", 1), Score("a", 1)).interval is None
    assert score_drop(Score("a", 1, samples=(1.0, 1.0)), Score("a", 1, samples=(1.0,))).interval is None


def test_interval_is_paired_seeded_and_holds_the_drop() -> None:
    before = tuple(float(n % 10 != 0) for n in range(400))
    after = tuple(float(n % 10 not in (0, 1)) for n in range(400))
    drop = score_drop(Score("a", 0.9, samples=before), Score("a", 0.8, samples=after))
    again = score_drop(Score("a", 0.9, samples=before), Score("a", 0.8, samples=after))
    assert drop == again
    assert drop.interval is not None
    low, high = drop.interval
    assert 0.06 < low < 0.1 < high < 0.14


def test_equal_samples_have_an_interval_of_zero() -> None:
    same = Score("a", 0.5, samples=(0.0, 1.0))
    assert score_drop(same, same).interval == (0.0, 0.0)


def constant(want: np.ndarray, other: np.ndarray | None = None, **tolerance: object) -> Evidence:
    outputs = {"y": want} if other is None else {"y": want, "z": other}
    return prove(
        lambda feeds: outputs, lambda feeds: outputs, {"all": {"x": X}}, Tolerance(0.01, 0.1, **tolerance),  # type: ignore[arg-type]
        reference_name="ref", engine="fake 1", inputs="example",
    )  # fmt: skip


def test_an_original_that_ignores_its_input_proves_nothing() -> None:
    (failure,) = constant(np.zeros(10, np.float32)).failures
    assert failure.startswith(
        "output 'y' of the original does not depend on the input, so nothing is proven: give trained"
    )
    assert failure.endswith("or add --allow-constant")
    assert constant(np.ones(10, np.float32), constant=True).passed


def test_a_constant_output_beside_one_that_varies_is_told() -> None:
    evidence = constant(np.ones(10, np.float32), X)
    assert evidence.passed
    assert evidence.notes == ("output 'y': the same for every input",)


def test_what_hardly_varies_is_told_with_what_would_help() -> None:
    evidence = constant(1 + np.float32(1e-4) * X)
    assert evidence.passed
    assert evidence.notes[0].startswith(
        "output 'y' hardly varies with the input (0.0003 of its magnitude), so this proves little"
    )

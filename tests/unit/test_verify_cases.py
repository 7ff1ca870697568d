from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgedl import Axis, Task
from edgedl.errors import InvalidInput, InvalidReference, InvalidTensor
from edgedl.spec import Feeds, TensorSpec
from edgedl.verify.cases import BATCHES, cases, enough, given_inputs, real_inputs

SPEC = (TensorSpec("x", ("batch", 2), "float32"),)


def rows(count: int, start: float = 0) -> np.ndarray:
    return start + np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def task(**changes: Any) -> Task:
    return replace(Task("t", lambda: None, lambda: {"x": rows(1)}), **changes)  # type: ignore[arg-type,return-value]


def test_real_inputs_are_the_calibration_where_there_is_one() -> None:
    batches, kind = real_inputs(task(calibration=lambda: ({"x": rows(2)} for _ in range(100))), SPEC)
    assert (len(batches), kind) == (BATCHES, "calibration")


@pytest.mark.parametrize(("synthetic", "kind"), [(True, "seeded"), (False, "example")])
def test_real_inputs_without_calibration(synthetic: bool, kind: str) -> None:
    batches, told = real_inputs(task(synthetic=synthetic, calibration=list), SPEC)
    assert (told, len(batches)) == (kind, 1)


@pytest.mark.parametrize("feeds", [{"y": rows(1)}, {"x": rows(1).astype(float)}, {"x": rows(1)[0]}, {}])
def test_calibration_that_does_not_fit_is_refused(feeds: Feeds) -> None:
    with pytest.raises(InvalidTensor, match="calibration inputs that the model does not take"):
        real_inputs(task(calibration=lambda: [feeds]), SPEC)


def test_calibration_that_raises_is_the_users_error() -> None:
    def broken() -> Iterable[Feeds]:
        raise FileNotFoundError("photos/")

    with pytest.raises(InvalidReference, match=r"calibration raised FileNotFoundError: photos/ \(.*test_verify_cases"):
        real_inputs(task(calibration=broken), SPEC)


def test_every_dynamic_axis_at_its_ends() -> None:
    axes = {"x": {0: Axis("batch", 1, 9), 1: Axis("time", 2, 4)}}
    found = cases([{"x": rows(3)}], axes, SPEC)
    assert list(found) == ["batch=1, time=2", "batch=3, time=2", "batch=9, time=4"]
    assert [feeds["x"].shape for feeds in found.values()] == [(1, 2), (3, 2), (9, 4)]


def test_batches_are_pooled_where_they_differ_in_rows_alone() -> None:
    axes = {"x": {0: Axis("batch", 1, 4)}}
    found = cases([{"x": rows(2)}, {"x": rows(2, 100)}, {"x": np.zeros((1, 3), np.float32)}], axes, SPEC)
    assert np.array_equal(found["batch=4"]["x"], np.concatenate([rows(2), rows(2, 100)]))


def test_rows_of_a_state_lie_along_its_second_axis() -> None:
    """[layers, batch, hidden]: two batches are no state of two more layers."""
    batches = [{"x": rows(3, n), "h": np.full((2, 3, 4), n, np.float32)} for n in (0, 1)]
    axes = {"x": {0: Axis("batch", 1, 5)}, "h": {1: Axis("batch", 1, 5)}}
    found = cases(
        batches, axes, (TensorSpec("x", ("batch", 2), "float32"), TensorSpec("h", (2, "batch", 4), "float32"))
    )
    assert [(feeds["x"].shape, feeds["h"].shape) for feeds in found.values()] == [
        ((1, 2), (2, 1, 4)), ((2, 2), (2, 2, 4)), ((5, 2), (2, 5, 4)),
    ]  # fmt: skip
    assert found["batch=5"]["h"][0, :, 0].tolist() == [0, 0, 0, 1, 1]


def test_static_models_get_batches_of_their_size() -> None:
    found = cases([{"x": rows(3)}] * 6, {}, (TensorSpec("x", (1, 2), "float32"),))
    assert [feeds["x"].shape for feeds in found.values()] == [(1, 2)] * 4


def test_too_few_rows_are_joined_by_seeded_ones() -> None:
    feeds = {
        "x": rows(1),
        "ids": np.array([[3, 9]]),
        "mask": np.array([[True, False]]),
        "ones": np.ones((1, 2), np.float32),
    }
    found, kind = enough([feeds], "example", lambda feeds: None)
    assert (len(found), kind) == (4, "example and seeded")
    assert all(batch["x"].max() <= 1 and batch["mask"].sum() == 1 and batch["ids"].min() >= 1 for batch in found)
    assert all(batch["ids"].max() <= 9 for batch in found)
    assert len({batch["ones"].tobytes() for batch in found}) == 4


def test_rows_that_the_original_refuses_are_left_out() -> None:
    def refuse(feeds: Feeds) -> None:
        raise ValueError("lengths must be sorted")

    assert len(enough([{"x": rows(1)}], "seeded", refuse)[0]) == 1
    assert enough([{"x": rows(5)}], "calibration", refuse)[1] == "calibration"


def test_given_rows_come_in_batches_that_the_model_takes_and_are_counted() -> None:
    batches, kind = given_inputs("rows.npz", lambda: [{"x": rows(20)}], SPEC, {"x": {0: Axis("batch", 1, 8)}})
    assert ([len(feeds["x"]) for feeds in batches], kind) == ([8, 8, 4], "rows.npz (20 rows)")


def test_given_rows_are_not_repeated_to_look_like_more() -> None:
    batches, kind = given_inputs("rows.npz", lambda: [{"x": rows(1)}], SPEC, {"x": {0: Axis("batch")}})
    assert ([len(feeds["x"]) for feeds in batches], kind) == ([1], "rows.npz (1 row)")


@pytest.mark.parametrize("feeds", [{"y": rows(1)}, {"x": rows(1).astype(float)}, {"x": np.zeros((1, 3), np.float32)}])
def test_given_rows_that_do_not_fit_are_refused(feeds: Feeds) -> None:
    with pytest.raises(InvalidTensor, match=r"--calibration rows\.npz holds inputs that the model does not take"):
        given_inputs("rows.npz", lambda: [feeds], SPEC, {})


def test_given_rows_of_which_there_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="holds no rows"):
        given_inputs("rows.npz", list, SPEC, {})


def test_every_given_row_is_run_before_the_ends_of_the_axes() -> None:
    axes = {"x": {0: Axis("batch", 1, 4)}}
    found = cases([{"x": rows(4)}, {"x": rows(3, 100)}], axes, SPEC, given=True)
    assert list(found) == ["given rows 0", "given rows 1", "batch=1", "batch=2", "batch=4"]
    assert found["given rows 1"]["x"].tolist() == rows(3, 100).tolist()


def test_the_same_row_again_is_not_enough() -> None:
    batches, kind = enough([{"x": np.ones((4, 2), np.float32)}], "calibration", lambda feeds: feeds)
    assert (len(batches), kind) == (4, "calibration and seeded")

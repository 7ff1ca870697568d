from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgedl.verify.parity import Parity, compare, relative_rms


def held(got: object, want: object, tolerance: float = 0.1) -> Parity:
    return compare("case", "y", np.asarray(got), np.asarray(want), tolerance)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_closed_forms() -> None:
    """want = (3, 4): rms 5/sqrt 2; got - want = (0.3, -0.4): rms 0.5/sqrt 2."""
    figures = held([3.3, 3.6], [3.0, 4.0], 0.2)
    assert figures.relative_rms == pytest.approx(0.1)
    assert figures.max_abs == pytest.approx(0.4)
    assert figures.cosine == pytest.approx((3.3 * 3 + 3.6 * 4) / (5 * np.hypot(3.3, 3.6)))
    assert figures.failure == ""


def test_the_tolerance_is_a_limit() -> None:
    assert held([1.1], [1.0], 0.11).failure == ""
    assert held([1.1], [1.0], 0.09).failure == "relative RMS error 0.1 is over the tolerance 0.09"


def test_a_zero_reference_is_held_against_the_bare_error() -> None:
    assert relative_rms(f32(0.3, 0.4), f32(0, 0)) == pytest.approx(0.5 / np.sqrt(2))
    assert held(f32(0, 0), f32(0, 0)).cosine == 1.0
    assert held(f32(1, 0), f32(0, 0)).failure


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails_where_the_reference_is(bad: float) -> None:
    found = held(f32(1, bad), f32(1, 2))
    assert not found.finite
    assert found.failure.startswith("1 of 2 values are not finite")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_same_value_in_the_reference_passes(bad: float) -> None:
    found = held(f32(1, bad), f32(1, bad))
    assert found.finite
    assert found.failure == ""


@pytest.mark.parametrize(("got", "want"), [(np.inf, -np.inf), (np.nan, np.inf), (np.inf, np.nan), (2.0, np.nan)])
def test_another_one_does_not(got: float, want: float) -> None:
    assert held(f32(1, got), f32(1, want)).failure


def test_integers_are_counted() -> None:
    assert held(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]), 0.3).relative_rms == 0.25
    assert held(np.array([True, False]), np.array([True, True]), 0.3).failure
    assert held(np.array([1, 2], np.int32), np.array([1, 2], np.int64)).failure == ""


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape (2, 3), the reference has (3, 2)"),
        (np.zeros(2, np.float16), np.zeros(2, np.float32), "dtype float16, the reference has float32"),
        (np.zeros(2, np.int8), np.zeros(2, np.int64), "dtype int8, the reference has int64"),
    ],
)
def test_shapes_and_dtypes(got: np.ndarray, want: np.ndarray, said: str) -> None:
    assert held(got, want).failure == said


def test_top1_is_for_rows_of_scores() -> None:
    want = np.eye(4, dtype=np.float32)
    got = want[[0, 1, 2, 2]]
    assert held(got, want, 2).top1 == 0.75
    assert held(want[:, :1], want[:, :1]).top1 is None
    assert held(want[None], want[None]).top1 is None
    assert held(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)).top1 is None


@pytest.mark.filterwarnings("error")
def test_empty_and_scalar_outputs() -> None:
    assert held(np.zeros((0, 3)), np.zeros((0, 3))).failure == ""
    assert held(np.float32(2), np.float32(2)).relative_rms == 0


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)))
def test_equal_arrays_always_pass(array: np.ndarray) -> None:
    assert held(array, array.copy(), 0).failure == ""


@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)),
    hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)),
    st.sampled_from([0.25, 2.0, 1024.0]),
)
def test_relative_rms_does_not_depend_on_the_unit(a: np.ndarray, b: np.ndarray, unit: float) -> None:
    assume(np.abs(b).max() > 1e-3)
    assert relative_rms(a * unit, b * unit) == pytest.approx(relative_rms(a, b), rel=1e-5)

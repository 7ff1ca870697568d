"""Ranges from values: what each calibrator keeps and what it cuts off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedl.calibrators import ranges
from edgedl.exporter import CALIBRATORS


def found(values: np.ndarray, calibrator: str) -> tuple[float, float]:
    return ranges(lambda: [("x", part) for part in np.array_split(values, 4)], calibrator)["x"]


def error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    return float(np.square(np.rint((np.clip(values, low, high) - low) / step) * step + low - values).mean())


@pytest.fixture(scope="module")
def bell() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(200_000).astype(np.float32)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=40))
@settings(max_examples=40)
def test_zero_is_inside_and_nothing_is_beyond_the_values(calibrator: str, values: list[float]) -> None:
    array = np.array(values, np.float32)
    low, high = found(array, calibrator)
    assert min(0.0, array.min()) - 1e-3 <= low <= 0 <= high <= max(0.0, array.max()) + 1e-3


def test_minmax_is_exact(bell: np.ndarray) -> None:
    assert found(bell, "minmax") == (bell.min(), bell.max())


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_a_bell_keeps_its_shoulders(bell: np.ndarray, calibrator: str) -> None:
    low, high = found(bell, calibrator)
    assert low < -2.5
    assert high > 2.5


@pytest.mark.parametrize("calibrator", ["entropy", "percentile"])
def test_what_is_far_outside_is_cut_off(bell: np.ndarray, calibrator: str) -> None:
    values = bell.copy()
    values[7] = 60
    low, high = found(values, calibrator)
    assert high < 30
    assert error(bell, low, high) < error(bell, *found(values, "minmax")) / 4


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_the_zeros_of_a_relu_do_not_narrow_the_range(bell: np.ndarray, calibrator: str) -> None:
    values = np.maximum(bell - 1, 0)
    low, high = found(values, calibrator)
    assert (low, high > 0.6 * values.max()) == (0, True)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_what_matters_is_not_cut_off(bell: np.ndarray, calibrator: str) -> None:
    """The channels of an image with an even background: most values of each are one number."""
    background = np.random.default_rng(2).uniform(0, 1, 16)[np.arange(len(bell)) % 16]
    even = np.arange(len(bell)) % 10 < 7
    for values in (np.where(even, background, 2 * np.abs(bell)), np.where(even, 0.8 * background - 0.4, 1.5 * bell)):
        assert error(values, *found(values, calibrator)) < 12 * error(values, *found(values, "minmax"))


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_the_smallest_numbers(calibrator: str) -> None:
    low, high = found(np.array([1e-45, 0, 1e-44, 0], np.float32), calibrator)
    assert 0 == low <= high <= 1.1e-44


def test_mse_is_no_worse_than_the_exact_range(bell: np.ndarray) -> None:
    for values in (bell, np.maximum(bell, 0), bell**3):
        assert error(values, *found(values, "mse")) <= error(values, *found(values, "minmax")) * 1.001
    assert error(bell**3, *found(bell**3, "mse")) < error(bell**3, *found(bell**3, "minmax")) * 0.9


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_nothing_below_zero_stays_so(bell: np.ndarray, calibrator: str) -> None:
    assert found(np.maximum(bell, 0), calibrator)[0] == 0


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_one_value_throughout(calibrator: str, value: float) -> None:
    low, high = found(np.full(64, value, np.float32), calibrator)
    assert low <= value <= high or calibrator == "entropy"
    assert np.isfinite([low, high]).all()


def test_tensors_without_elements_are_left_out() -> None:
    assert ranges(lambda: [("empty", np.zeros((0, 3)))], "mse") == {}

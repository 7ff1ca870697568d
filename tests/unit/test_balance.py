from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgedl.balance import equalizing, rounded, smoothing

MATRICES = arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32))


@given(MATRICES)
def test_rounding_is_within_half_a_step_of_its_channel(weight: np.ndarray) -> None:
    for axis, largest in ((0, np.abs(weight).max(1, keepdims=True)), (None, np.abs(weight).max())):
        for levels in (127, 64):
            step = np.maximum(largest, np.finfo(np.float32).tiny) / levels
            assert np.all(np.abs(rounded(weight, axis, levels) - weight) <= step * 0.5001 + 1e-30)


@given(MATRICES, MATRICES)
def test_equalised_channels_have_one_range_in_both_layers(first: np.ndarray, second: np.ndarray) -> None:
    factors = equalizing(first, second)
    r1, r2 = np.abs(first / factors[:, None]).max(1), np.abs(second * factors[:, None]).max(1)
    alive = (np.abs(first).max(1) > 1e-30) & (np.abs(second).max(1) > 1e-30)
    np.testing.assert_allclose(r1[alive], r2[alive], rtol=1e-3)
    assert np.all(factors[(np.abs(first).max(1) == 0) | (np.abs(second).max(1) == 0)] == 1)


def test_smoothing_moves_all_nothing_or_half() -> None:
    activations, weights = np.array([8.0, 0.0, 2.0]), np.array([2.0, 1.0, 2.0])
    np.testing.assert_allclose(smoothing(activations, weights, 1.0), [8, 1, 2])
    np.testing.assert_allclose(smoothing(activations, weights, 0.0), [0.5, 1, 0.5])
    np.testing.assert_allclose(smoothing(activations, weights, 0.5), [2, 1, 1])

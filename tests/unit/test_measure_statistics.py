from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.measure import statistics
from edgedl.measure.statistics import Estimate


@pytest.mark.parametrize(("level", "needed"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.97, 219), (0.99, 662)])
def test_early_stopping_needs_the_queries_that_loadgen_needs(level: float, needed: int) -> None:
    assert statistics.queries_needed(level) == needed


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [11, 64, 200, 661, 662, 1000])
def test_allowed_misses_is_the_largest_whose_binomial_tail_is_below_one_percent(level: float, count: int) -> None:
    def tail(misses: int) -> float:
        return math.fsum(math.comb(count, k) * (1 - level) ** k * level ** (count - k) for k in range(misses + 1))

    allowed = statistics.allowed_misses(count, level)
    assert allowed == -1 or tail(allowed) <= 0.01
    assert tail(allowed + 1) > 0.01


def test_a_percentile_is_refused_below_the_number_that_is_told() -> None:
    found = statistics.percentile(np.arange(1, 662), 0.99)
    assert (found.value, found.bound, found.needed) == (None, None, 662)


def test_a_percentile_and_its_bound_are_samples() -> None:
    found = statistics.percentile(np.arange(1000, 0, -1), 0.9)
    assert found.value == 901  # sorted[int(1000 * 0.9)]
    assert found.bound == 1000 - statistics.allowed_misses(1000, 0.9) + 1


def test_hundreds_of_thousands_of_samples_do_not_underflow() -> None:
    assert statistics.percentile(np.arange(300_000), 0.99).value == 297_000


@pytest.mark.parametrize(("freedom", "quantile"), [(5, 2.571), (9, 2.262), (19, 2.093), (100, 1.984)])
def test_student_t_matches_the_tables(freedom: int, quantile: float) -> None:
    assert statistics.student_t(0.975, freedom) == pytest.approx(quantile, rel=0.01)


def test_the_interval_of_a_normal_bootstrap_is_students_interval() -> None:
    means = np.random.default_rng(0).normal(0, math.sqrt(9 / 10), 400_000)  # s = 1, n = 10: sd of resampled means
    low, high = statistics.interval(means * math.sqrt(1 / 10), 10)
    assert high == pytest.approx(2.262 / math.sqrt(10), rel=0.02)
    assert low == pytest.approx(-high, rel=0.03)


def test_the_median_of_equal_samples_has_no_width() -> None:
    assert statistics.median([np.full(5, 70)] * 8) == Estimate(70, 70, 70)


def test_the_median_is_exact_and_within_its_interval() -> None:
    samples = np.random.default_rng(1).integers(1000, 2000, (20, 30))
    found = statistics.median(list(samples))
    assert found.value == np.median(samples)
    assert found.low <= found.value <= found.high


def test_the_median_resamples_rounds_and_not_runs() -> None:
    """Runs that agree within a round and rounds that do not: 1000 runs are then no more than 10 samples."""
    levels = np.random.default_rng(2).normal(1000, 50, 10)
    found = statistics.median([np.full(100, int(level)) for level in levels])
    assert found.high - found.low > 20


def test_the_interval_of_the_median_covers_the_truth() -> None:
    generator = np.random.default_rng(3)
    trials = [_simulated_rounds(generator) for _ in range(200)]
    covered = [e.low <= 1e6 <= e.high for e in map(statistics.median, trials)]
    assert np.mean(covered) >= 0.9


def _simulated_rounds(generator: np.random.Generator) -> list[statistics.Samples]:
    levels = 1e6 * generator.lognormal(0, 0.05, 20)
    return [(level * generator.lognormal(0, 0.02, 5)).astype(np.int64) for level in levels]


def _pair(generator: np.random.Generator, effect: float, noise: float) -> Estimate:
    """Two subjects on a machine with bursts: common load, own noise, now and then one is hit alone."""
    common = generator.lognormal(0, 0.1, 20) * (1 + 2 * (generator.random(20) < 0.15))
    one, other = (common * generator.lognormal(0, noise, 20) * (1 + (generator.random(20) < 0.1)) for _ in range(2))
    return statistics.ratio(one * effect, other)


def _claims(effect: float, noise: float, trials: int) -> list[bool]:
    generator = np.random.default_rng(0)
    found = [_pair(generator, effect, noise) for _ in range(trials)]
    return [estimate.low > 1 or estimate.high < 1 for estimate in found]


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_against_a_is_called_different_in_at_most_one_of_twenty(noise: float) -> None:
    assert np.mean(_claims(1.0, noise, 1000)) <= 0.05


def test_a_true_difference_of_20_percent_is_found() -> None:
    assert np.mean(_claims(1.2, 0.05, 200)) >= 0.95


def test_an_exact_ratio_is_found_exactly() -> None:
    base = np.random.default_rng(5).lognormal(0, 1, 20)
    found = statistics.ratio(base * 3, base)
    assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3))


@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(1, 1e9)), min_size=6, max_size=30))
def test_a_ratio_turned_around_is_its_inverse(pairs: list[tuple[float, float]]) -> None:
    one, other = np.array(pairs).T
    forward, back = statistics.ratio(one, other), statistics.ratio(other, one)
    assert forward.value * back.value == pytest.approx(1)
    assert (forward.low * back.high, forward.high * back.low) == pytest.approx((1, 1), rel=1e-6)


def test_a_wider_ratio_keeps_its_value_and_never_shrinks() -> None:
    found = statistics.widened(Estimate(2.0, 1.98, 2.04), 0.02)
    assert found.value == 2.0
    assert (found.low, found.high) == pytest.approx((1.98 / 1.02, 2.04 * 1.02))
    exact = statistics.widened(Estimate(2.0, 2.0, 2.0), 0.02)
    assert (exact.low, exact.high) == pytest.approx((2 / 1.02, 2 * 1.02))


def test_the_smallest_visible_difference_is_half_the_width() -> None:
    assert statistics.smallest_visible(Estimate(1.0, 1 / 1.1, 1.1)) == pytest.approx(0.1)


@pytest.fixture(scope="module")
def differences() -> Any:
    """benchmarks/differences.py, which is no module of a package."""
    path = Path(__file__).parents[2] / "benchmarks" / "differences.py"
    spec = importlib.util.spec_from_file_location("differences", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("load", "found"), [(0.0, 0.90), (1.0, 0.65)])
def test_equal_work_is_rarely_called_different_and_ten_percent_are_found(
    differences: Any, load: float, found: float
) -> None:
    """On a model of a quiet and of a noisy machine: at most 2 % false differences, a true 10 % in so many of 200 trials."""
    generator = np.random.default_rng(0)
    false, true = differences.shares(lambda factor: differences.simulated(generator, factor, load, 20), 200)
    assert false <= 0.02
    assert true >= found

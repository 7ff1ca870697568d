from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.measure.statistics import Estimate
from edgedl.report import units
from edgedl.report.labels import Box, place
from edgedl.report.svg import Scale


@given(st.floats(1, 1e12), st.floats(1.0001, 1e6), st.booleans())
def test_ticks_lie_on_the_scale_in_order(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, 0, 400, log)
    ticks = scale.ticks()
    assert ticks == sorted(ticks)
    assert 1 <= len(ticks) <= 25
    assert all(0 <= scale(tick) <= 400 for tick in ticks)


def test_a_scale_keeps_its_ends_and_its_middle() -> None:
    assert [Scale(0, 10, 100, 200)(value) for value in (0, 5, 10, 99)] == [100, 150, 200, 200]
    assert Scale(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Scale(7, 7, 0, 100)(7) == 50


@given(st.lists(st.tuples(st.floats(80, 380), st.floats(40, 200)), min_size=1, max_size=8))
def test_labels_never_cover_each_other(points: list[tuple[float, float]]) -> None:
    bounds = Box(50, 20, 420, 300)
    boxes = place(points, ["digits.tflite"] * len(points), bounds)
    assert all(box.within(bounds) for box in boxes)
    assert not any(one.meets(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (5, "5 ns"),
        (999.6, "1.00 µs"),
        (9023, "9.02 µs"),
        (123_456, "123 µs"),
        (1_200_000, "1.20 ms"),
        (2e9, "2.00 s"),
        (None, "-"),
    ],
)
def test_durations_have_three_digits(nanoseconds: float | None, text: str) -> None:
    assert units.duration(nanoseconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (46_249, "46.2 kB"), (1_500_000, "1.50 MB")])
def test_sizes_are_decimal(count: int, text: str) -> None:
    assert units.size(count) == text


def test_a_figure_and_its_interval_have_one_unit() -> None:
    assert units.spread(Estimate(1_020_000, 990_000, 1_100_000)) == "1.02 ms [0.99, 1.10]"


def test_minus_zero_is_zero() -> None:
    assert units.number(-0.0001) == "0.000"
    assert units.number(-0.01) == "-0.010"

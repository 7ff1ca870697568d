from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.comparison import Comparison, Layer
from edgedl.errors import InvalidInput

numbers = st.floats(-1e9, 1e9)
figures = st.one_of(numbers, st.just(math.nan))
ratios = st.one_of(numbers, st.sampled_from([math.inf, math.nan]))
layers = st.builds(
    Layer, st.text("abc/;", max_size=5), st.text("abc", max_size=5), st.none() | st.just("net.py:3"),
    st.lists(st.integers(0, 9), max_size=3).map(tuple), ratios, figures, figures, figures,
)  # fmt: skip


@given(st.lists(layers, max_size=4).map(tuple), st.lists(st.text("xyz"), max_size=3).map(tuple))
def test_json_keeps_everything(made: tuple[Layer, ...], unmatched: tuple[str, ...]) -> None:
    found = Comparison("a", "b", "golden", 3, made, unmatched, "why")
    again = Comparison.from_json(found.to_json(), "x")
    assert repr(again) == repr(found)  # of which NaN equals NaN


def test_noise_without_a_signal_is_kept() -> None:
    found = Comparison("a", "b", "golden", 3, (Layer("x", "x", None, (2,), -math.inf, 0.0, 0.0, 0.0),), ())
    assert Comparison.from_json(found.to_json(), "x") == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"kind": "edgedl-benchmark"},
            "c.json is not a comparison (kind 'edgedl-benchmark', expected 'edgedl-comparison')",
        ),
        ({"schema_version": 7}, "c.json has schema version 7, expected 1: compare again"),
        ({"runs": "3"}, "c.json is not a whole comparison: comparison.runs is a str, expected a int"),
        ({"layers": [{}]}, "comparison.layers[0] has no 'name'"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    text = Comparison("a", "b", "golden", 3, (), ()).to_json()
    (tmp_path / "c.json").write_text(json.dumps({**json.loads(text), **change}))
    with pytest.raises(InvalidInput) as caught:
        Comparison.open(tmp_path / "c.json")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*c\.json"):
        Comparison.open(tmp_path / "c.json")

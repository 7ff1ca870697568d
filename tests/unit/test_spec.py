from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.errors import InvalidInput, InvalidTensor
from edgedl.spec import DTYPES, Axis, TensorSpec, parse_dynamic, parse_input, plain, resize


@pytest.mark.parametrize(
    ("text", "name", "shape", "dtype"),
    [
        ("x=1x3x64x64:float32", "x", (1, 3, 64, 64), "float32"),
        ("x=5", "x", (5,), "float32"),
        ("t=:float32", "t", (), "float32"),
        ("tokens=1x16:int64:0..999", "tokens", (1, 16), "int64"),
        ("a.b/c d=2x2:bool", "a.b/c d", (2, 2), "bool"),
        ("größe=1:float16", "größe", (1,), "float16"),
    ],
)
def test_parse_input(text: str, name: str, shape: tuple[int, ...], dtype: str) -> None:
    assert parse_input(text).spec == TensorSpec(name, shape, dtype)


@pytest.mark.parametrize(
    "text",
    ["", "x", "=1x2", "x=1x", "x=-1", "x=1x2:float31", "x=1:int8:1", "x=1:float32:1.2.3..4", "x=1:int8:a..b", "x=1:float32:..",
     "x=1:float32:5..1", "x=1:int64:2..1", "x=99999999x99999999"],
)  # fmt: skip
def test_parse_input_refuses(text: str) -> None:
    with pytest.raises(InvalidInput, match="--input"):
        parse_input(text)


@given(st.text(max_size=30))
def test_parse_input_raises_nothing_else(text: str) -> None:
    try:
        assert parse_input(text).spec.dtype in DTYPES
    except InvalidInput as error:
        assert repr(text) in str(error)


@given(st.lists(st.text(max_size=20), max_size=3))
def test_parse_dynamic_raises_nothing_else(texts: list[str]) -> None:
    try:
        assert sum(map(len, parse_dynamic(tuple(texts)).values())) <= len(texts)
    except InvalidInput as error:
        assert "dynamic" in str(error)


def test_samples_are_seeded_and_in_range() -> None:
    option = parse_input("tokens=50x4:int64:3..7")
    first, again, other = option.sample(0), option.sample(0), option.sample(1)
    assert first.dtype == np.int64
    assert set(np.unique(first)) == {3, 4, 5, 6, 7}
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_float_samples_are_normal_unless_a_range_is_given() -> None:
    normal = parse_input("x=10000").sample(0)
    uniform = parse_input("x=10000:float32:-0.5..0.5").sample(0)
    assert abs(float(normal.std()) - 1) < 0.05
    assert float(np.abs(uniform).max()) <= 0.5
    assert normal.dtype == uniform.dtype == np.float32


def test_parse_dynamic() -> None:
    assert parse_dynamic(("x:0=batch", "x:2=time:8..200", "y:0=batch")) == {
        "x": {0: Axis("batch"), 2: Axis("time", 8, 200)},
        "y": {0: Axis("batch")},
    }


@pytest.mark.parametrize("text", ["x", "x:0", "x:a=b", "x:0=3", "x:0=b:5..5", "x:0=b:0..5", "x:0=b:9..2", "x:0=b c"])
def test_parse_dynamic_refuses(text: str) -> None:
    with pytest.raises(InvalidInput, match="dynamic"):
        parse_dynamic((text,))


@pytest.mark.parametrize("axis", [("batch size", 1, 2), ("", 1, 2), ("b", 0, 2), ("b", 3, 3), ("b", 4, 3)])
def test_an_axis_is_checked_when_it_is_made(axis: tuple[str, int, int]) -> None:
    with pytest.raises(InvalidInput, match="1 <= low < high"):
        Axis(*axis)


def test_spec_accepts_any_length_of_a_dynamic_axis() -> None:
    spec = TensorSpec("x", ("batch", 3), "float32")
    assert spec.accepts((7, 3))
    assert not spec.accepts((7, 4))
    assert not spec.accepts((7, 3, 1))
    assert str(spec) == "x: float32[batch, 3]"


def test_resize_cuts_and_repeats_from_the_start() -> None:
    feeds = {"x": np.arange(3), "y": np.arange(3) * 10, "z": np.arange(2)}
    axes = {"x": {0: Axis("batch")}, "y": {0: Axis("batch")}}
    longer, shorter = resize(feeds, axes, {"batch": 5}), resize(feeds, axes, {"batch": 1})
    assert longer["x"].tolist() == [0, 1, 2, 0, 1]
    assert longer["y"].tolist() == [0, 10, 20, 0, 10]
    assert longer["z"] is feeds["z"]
    assert shorter["x"].tolist() == [0]


def test_resize_of_two_axes() -> None:
    axes = {"x": {0: Axis("batch"), 1: Axis("time")}}
    assert resize({"x": np.arange(6).reshape(2, 3)}, axes, {"batch": 1, "time": 4})["x"].tolist() == [[0, 1, 2, 0]]


def test_plain_keeps_rank_zero_and_takes_tensors_and_foreign_byte_order() -> None:
    import torch

    arrays = plain({"t": np.float32(3), "x": torch.ones(2), "b": np.arange(3, dtype=">i4"), "f": np.ones((2, 3)).T})
    assert arrays["t"].shape == ()
    assert arrays["x"].dtype == np.float32
    assert arrays["b"].dtype.isnative
    assert arrays["b"].tolist() == [0, 1, 2]
    assert arrays["f"].flags.c_contiguous


@pytest.mark.parametrize("value", [np.zeros(2, complex), np.array(["a"]), np.array([object()])])
def test_plain_refuses_what_no_format_carries(value: Any) -> None:
    with pytest.raises(InvalidTensor, match="'x'"):
        plain({"x": value})

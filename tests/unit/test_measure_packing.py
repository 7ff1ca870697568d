from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.errors import InvalidInput
from edgedl.measure.samples import pack, unpack


@given(st.lists(st.integers(0, 2**60), max_size=50))
def test_packed_samples_come_back_sorted(values: list[int]) -> None:
    samples = np.array(values, np.int64)
    assert unpack(pack(samples), len(values)).tolist() == sorted(values)


def test_many_samples_of_a_small_model_take_little_text() -> None:
    samples = np.random.default_rng(0).lognormal(np.log(5000), 0.05, 20_000).astype(np.int64)
    assert len(pack(samples)) < len(str(samples.tolist())) / 20


def _packed(differences: list[int]) -> str:
    return base64.b64encode(zlib.compress(np.array(differences, "<i8").tobytes())).decode()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("not base64!", 1),
        (base64.b64encode(b"not zlib").decode(), 1),
        (pack(np.arange(5)), 4),
        (pack(np.arange(5)), 6),
        (_packed([5, -1]), 2),
        (_packed([2**61, 2**61, 2**61]), 3),
        (base64.b64encode(zlib.compress(b"\0" * (1 << 26))).decode(), 2),
        (pack(np.arange(500))[:40], 500),
        ("é", 1),
    ],
)
def test_damaged_texts_are_refused(text: str, count: int) -> None:
    with pytest.raises(InvalidInput, match="packed samples are damaged"):
        unpack(text, count)


@given(st.binary(max_size=60), st.integers(1, 40))
def test_any_bytes_are_unpacked_or_refused(data: bytes, count: int) -> None:
    try:
        assert len(unpack(base64.b64encode(data).decode(), count)) == count
    except InvalidInput as refusal:
        assert "packed samples are damaged" in str(refusal)

"""Greedy and beam search on decoders that are tables of chances."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedl.decoding import beam_search, carried, cut, decode, first_feeds, greedy, lengths, log_softmax, spelled
from edgedl.errors import InvalidTensor
from edgedl.group import DecodeLoop
from edgedl.spec import Array, Feeds, State

END = 0
LOOP = DecodeLoop(1, END, 3, {"table": "table"}, (State("count", "count_next"),), {"count": (1,)})


def encode(feeds: Feeds) -> dict[str, Array]:
    return {"table": feeds["source"]}


def step(feeds: Feeds) -> dict[str, Array]:
    """logits[row] = table[row, step, last token]; the state counts the steps."""
    steps, rows = feeds["count"][:, 0].astype(int), np.arange(len(feeds["token"]))
    return {"logits": feeds["table"][rows, steps, feeds["token"]], "count_next": feeds["count"] + 1}


def tables(seed: int, rows: int, words: int) -> dict[str, Array]:
    return {"source": np.random.default_rng(seed).normal(size=(rows, LOOP.length, words, words)).astype(np.float32)}


def chance(table: Array, sequence: tuple[int, ...]) -> float:
    """Log-probability per token of a sequence that is filled up with END."""
    total, last = 0.0, LOOP.begin
    for number, token in enumerate(sequence):
        total += log_softmax(table[number, last][None])[0, token]
        last = token
        if token == END:
            return total / (number + 1)
    return total / len(sequence)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), words=st.integers(2, 6))
def test_a_beam_of_one_is_greedy(seed: int, rows: int, words: int) -> None:
    feeds = tables(seed, rows, words)
    assert np.array_equal(greedy(encode, step, LOOP, feeds), beam_search(encode, step, LOOP, feeds, 1))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 3))
def test_a_beam_that_keeps_everything_finds_the_likeliest_sequence(seed: int, rows: int) -> None:
    feeds = tables(seed, rows, 3)
    found = beam_search(encode, step, LOOP, feeds, 3**LOOP.length)
    for table, sequence in zip(feeds["source"], found, strict=True):
        best = max(chance(table, other) for other in itertools.product(range(3), repeat=LOOP.length))
        assert chance(table, tuple(sequence)) == pytest.approx(best)


@given(seed=st.integers(0, 10_000), beam=st.integers(1, 4))
def test_rows_do_not_touch_each_other(seed: int, beam: int) -> None:
    feeds = tables(seed, 3, 4)
    together = decode(encode, step, LOOP, feeds, beam)
    alone = [decode(encode, step, LOOP, {"source": feeds["source"][row : row + 1]}, beam)[0] for row in range(3)]
    assert np.array_equal(together, np.stack(alone))


def test_a_beam_leaves_the_garden_path() -> None:
    """The likeliest first token, 2, leads to nothing; 3 leads to a certainty."""
    table = np.zeros((1, 3, 4, 4), np.float32)
    table[0, 0, 1] = [-9, -9, 1.0, 0.9]
    table[0, 1, 3, END] = 20
    assert cut(greedy(encode, step, LOOP, {"source": table}), END)[0][0] == 2
    assert cut(decode(encode, step, LOOP, {"source": table}, 2), END) == [(3,)]


def test_decoding_ends_when_every_row_has_ended() -> None:
    steps: list[Any] = []

    def counted(feeds: Feeds) -> dict[str, Array]:
        steps.append(feeds)
        return step(feeds)

    table = np.zeros((2, 3, 3, 3), np.float32)
    table[:, :, :, END] = 9
    assert cut(greedy(encode, counted, LOOP, {"source": table}), END) == [(), ()]
    assert len(steps) == 1
    beam_search(encode, counted, LOOP, {"source": table}, 2)
    assert len(steps) == 3, "the second hypothesis has to end too"


def test_what_has_ended_stays_ended() -> None:
    table = np.zeros((2, 3, 3, 3), np.float32)
    table[0, 0, :, END] = 9
    table[0, 1:, :, 2] = table[1, :, :, 2] = 9
    assert greedy(encode, step, LOOP, {"source": table}).tolist() == [[0, 0, 0], [2, 2, 2]]


def test_the_token_that_begins_may_be_the_one_that_ends() -> None:
    loop = DecodeLoop(END, END, 3, {"table": "table"}, LOOP.states, LOOP.zeros)
    table = np.zeros((1, 3, 3, 3), np.float32)
    table[:, :2, :, 2] = 9
    table[:, 2, :, END] = 9
    assert greedy(encode, step, loop, {"source": table}).tolist() == [[2, 2, 0]]
    assert beam_search(encode, step, loop, {"source": table}, 2).tolist() == [[2, 2, 0]]


def test_the_first_feeds() -> None:
    loop = DecodeLoop(1, 0, 3, {"m": "memory", "mask": "source"}, (State("h", "h_next"),), {"h": (2, 3)})
    given = first_feeds(loop, {"source": np.ones((2, 4))}, {"memory": np.ones((2, 5))})
    assert {name: array.shape for name, array in given.items()} == {"token": (2,), "m": (2, 5), "mask": (2, 4), "h": (2, 2, 3)}  # fmt: skip
    assert given["token"].tolist() == [1, 1]
    assert given["h"].dtype == np.float32
    assert carried(loop, {"h_next": given["h"], "logits": given["m"]}) == {"h": given["h"]}


def test_lengths_count_the_end() -> None:
    assert lengths(np.array([[2, 0, 0], [2, 3, 4], [0, 0, 0]]), END).tolist() == [2, 3, 1]


def test_words() -> None:
    assert spelled((2, 1), ("a", "b", "c")) == "c b"
    with pytest.raises(InvalidTensor, match=r"token 3 is no word: the vocabulary has 3"):
        spelled((3,), ("a", "b", "c"))

"""The decode loop of an encoder-decoder: greedy, and beam search. Numpy alone, and short enough to be ported by hand.

encode, step: the encoder and one step of the decoder, arrays by name in and out; any engine, or torch.
Both give [batch, length] int64: the sequences without `begin`, filled up with `end`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgedl.errors import InvalidTensor
from edgedl.group import DecodeLoop
from edgedl.spec import Array, Feeds
from edgedl.task import Predict


def decode(encode: Predict, step: Predict, loop: DecodeLoop, feeds: Feeds, beam: int | None = None) -> Array:
    """The sequences of a batch; beam: hypotheses kept, the loop's own where None."""
    beam = beam or loop.beam
    return greedy(encode, step, loop, feeds) if beam == 1 else beam_search(encode, step, loop, feeds, beam)


def greedy(encode: Predict, step: Predict, loop: DecodeLoop, feeds: Feeds) -> Array:
    """The likeliest token at every step."""
    given = first_feeds(loop, feeds, encode(feeds))
    token = given[loop.token]
    tokens = np.full((len(token), loop.length), loop.end, np.int64)
    for number in range(loop.length):
        outputs = step(given)
        over = (token == loop.end) & (number > 0)
        tokens[:, number] = token = np.where(over, loop.end, outputs[loop.logits].argmax(1))
        if (token == loop.end).all():
            break
        given = {**given, **carried(loop, outputs), loop.token: token}
    return tokens


def beam_search(encode: Predict, step: Predict, loop: DecodeLoop, feeds: Feeds, beam: int) -> Array:
    """The likeliest of the `beam` hypotheses that are kept at each step, by log-probability per token.

    All hypotheses of a batch are one batch of the decoder, beam after beam. Dividing by the length: A. Graves, Sequence
    transduction with recurrent neural networks, 2012, https://arxiv.org/abs/1211.3711.
    """
    given = {name: np.repeat(a, beam, axis=0) for name, a in first_feeds(loop, feeds, encode(feeds)).items()}
    rows = len(given[loop.token]) // beam
    tokens = np.full((rows, beam, loop.length), loop.end, np.int64)
    total = np.where(np.arange(beam) == 0, 0.0, -np.inf) * np.ones((rows, 1))  # at first they are all the same one
    over = np.zeros((rows, beam), bool)
    for number in range(loop.length):
        outputs = step(given)
        chances = log_softmax(outputs[loop.logits]).reshape(rows, beam, -1)
        chances[over] = np.where(np.arange(chances.shape[2]) == loop.end, 0.0, -np.inf)
        total, parent, token = _best(total[:, :, None] + chances, beam)
        tokens = np.take_along_axis(tokens, parent[:, :, None], 1)
        tokens[:, :, number] = token
        over = token == loop.end
        if over.all():
            break
        places = (parent + beam * np.arange(rows)[:, None]).ravel()
        states = {name: array[places] for name, array in carried(loop, outputs).items()}
        given = {**given, **states, loop.token: token.ravel()}
    likeliest = (total / lengths(tokens, loop.end)).argmax(1)
    return np.take_along_axis(tokens, likeliest[:, None, None], 1)[:, 0]


def first_feeds(loop: DecodeLoop, feeds: Feeds, encoded: Feeds) -> dict[str, Array]:
    """What the decoder is given at the first step, from the encoder's inputs and outputs."""
    there = {**feeds, **encoded}
    given = {name: np.asarray(there[source]) for name, source in loop.feeds.items()}
    rows = len(next(iter(encoded.values())))
    zeros = {name: np.zeros((rows, *shape), np.float32) for name, shape in loop.zeros.items()}
    return {loop.token: np.full(rows, loop.begin, np.int64), **given, **zeros}


def carried(loop: DecodeLoop, outputs: Feeds) -> dict[str, Array]:
    """The states of the next step."""
    return {state.input: outputs[state.output] for state in loop.states}


def lengths(tokens: Array, end: int) -> Array:
    """[..., length] tokens -> how many there are, the one that ends the sequence among them."""
    counted: Array = np.minimum((tokens != end).sum(-1) + 1, tokens.shape[-1])
    return counted


def cut(tokens: Array, end: int) -> list[tuple[int, ...]]:
    """[batch, length] tokens -> each sequence without what fills it up."""
    return [tuple(map(int, row[: (row != end).sum()])) for row in tokens]


def spelled(tokens: Sequence[int], words: Sequence[str]) -> str:
    """The words of a sequence; InvalidTensor for a number outside the vocabulary."""
    if over := [token for token in tokens if not 0 <= token < len(words)]:
        raise InvalidTensor(f"token {over[0]} is no word: the vocabulary has {len(words)}")
    return " ".join(words[token] for token in tokens)


def log_softmax(logits: Array) -> Array:
    """[rows, vocabulary] logits -> log-probabilities, float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    chances: Array = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return chances


def _best(totals: Array, beam: int) -> tuple[Array, Array, Array]:
    """[rows, hypotheses, vocabulary] -> the `beam` highest totals of each row, their hypotheses and their tokens.

    The highest first, of equal ones the first: argmax after argmax, which needs no sorting of a whole vocabulary.
    """
    flat = totals.reshape(len(totals), -1)
    rows, places = np.arange(len(flat)), np.zeros((len(flat), beam), np.int64)
    best = np.zeros((len(flat), beam))
    for number in range(beam):
        places[:, number] = flat.argmax(1)
        best[:, number] = flat[rows, places[:, number]]
        flat[rows, places[:, number]] = -np.inf
    return best, places // totals.shape[2], places % totals.shape[2]

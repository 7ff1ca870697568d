"""Summarisation: four descriptions of a photo in, a short fifth one out; an LSTM encoder and an attention decoder, as a group.

Data: the five independent English descriptions of Multi30k (see _multi30k_data), where the four have at most 48 words and
marks together and the fifth at most 12: the first 6,000 photos to train on, the first 500 of the test part to test on.
Without them a small grammar stands in, and the score says so.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from edgedl.loop import Loop, Stage
from edgedl.spec import Array, Axis
from edgedl.task import Predict, Progress, Score, Task
from edgedl.zoo import _multi30k_data as data
from edgedl.zoo._attention import Pairs, Seq2Seq, decoding, error, pairs, told
from edgedl.zoo._overlap import rouge_l
from edgedl.zoo._split import as_batches
from edgedl.zoo._text import Vocabulary, Words

LENGTH, SHORT = 48, 12
"""Words of the four descriptions together, and of the fifth."""

WORDS = 3000
TRAINING, TEST = 6000, 500


def model() -> Seq2Seq:
    return Seq2Seq(WORDS, bidirectional=False, one_language=True)


@functools.cache
def load() -> tuple[Pairs, Pairs, Vocabulary, str]:
    """(training, test, the words of both sides, what they are)."""
    training, test, what = data.descriptions()
    shown, tested = _short(training)[:TRAINING], _short(test)[:TEST]
    words = Vocabulary.of(itertools.chain(*shown), WORDS)
    first, second = (pairs(part, (words, words), LENGTH, SHORT) for part in (shown, tested))
    return first, second, words, what


def _short(photos: list[data.Sentences]) -> list[tuple[Words, Words]]:
    """(four descriptions one after the other, the fifth) where they are short enough."""
    joined = [(tuple(itertools.chain(*five[:4])), five[4]) for five in photos]
    return [pair for pair in joined if len(pair[0]) <= LENGTH and len(pair[1]) <= SHORT]


def example() -> dict[str, Array]:
    return {"source": load()[0].source[:1]}


def calibration() -> list[dict[str, Array]]:
    """128 training photos in batches of 16."""
    return as_batches("source", load()[0].source[:128])


def score(predict: Predict) -> Score:
    """Mean ROUGE-L of the summaries against the fifth description; its name says which data."""
    _, test, words, what = load()
    summaries = told(predict, words, test.source)
    overlaps = [rouge_l(*pair) for pair in zip(summaries, test.references, strict=True)]
    return Score(f"ROUGE-L on {what}", float(np.mean(overlaps)), samples=tuple(overlaps))


def training(progress: Progress) -> tuple[Array, Array]:
    data.fetch(progress)
    part = load()[0]
    return part.source, part.target


def vocabularies() -> dict[str, Words]:
    words = load()[2].words
    return {"source": words, "tokens": words}


def task() -> Task:
    length = Axis("length", 4, LENGTH)
    return Task(
        "summarisation", model, example, {"source": {0: "batch", 1: length}}, ("tokens",), calibration, score,
        Loop((Stage(error, training, epochs=8, batch=32, clip=1.0),)), "LSTM encoder, attention decoder: a short description out of four",
        data.LICENCE, decoding=decoding(SHORT + 2, length, vocabularies),
    )  # fmt: skip

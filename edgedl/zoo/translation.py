"""Translation from German to English: a bidirectional LSTM encoder and an attention decoder, as an artifact group.

Data: the pairs of Multi30k of at most 12 words and marks, 13,015 to train on and 477 to test on (see _multi30k_data); BLEU 0.2
on them, greedy. Without them a small grammar stands in, and the score says so.
"""

from __future__ import annotations

import functools

from edgedl.loop import Loop, Stage
from edgedl.spec import Array, Axis
from edgedl.task import Predict, Progress, Score, Task
from edgedl.zoo import _multi30k_data as data
from edgedl.zoo._attention import Pairs, Seq2Seq, decoding, error, pairs, told
from edgedl.zoo._overlap import bleu
from edgedl.zoo._split import as_batches
from edgedl.zoo._text import Vocabulary, Words

LENGTH = 12
WORDS = 4000
"""Of each language; the rest is unknown."""


def model() -> Seq2Seq:
    return Seq2Seq(WORDS, bidirectional=True, one_language=False)


@functools.cache
def load() -> tuple[Pairs, Pairs, tuple[Vocabulary, Vocabulary], str]:
    """(training, test, (German, English), what they are)."""
    training, test, what = data.translations()
    short, tested = (
        [(pair[0], pair[1]) for pair in part if max(map(len, pair)) <= LENGTH] for part in (training, test)
    )
    words = tuple(Vocabulary.of((pair[side] for pair in short), WORDS) for side in (0, 1))
    vocabularies = words[0], words[1]
    return pairs(short, vocabularies, LENGTH, LENGTH), pairs(tested, vocabularies, LENGTH, LENGTH), vocabularies, what


def example() -> dict[str, Array]:
    return {"source": load()[0].source[:1]}


def calibration() -> list[dict[str, Array]]:
    """256 training sentences in batches of 16."""
    return as_batches("source", load()[0].source[:256])


def score(predict: Predict) -> Score:
    """BLEU of the test sentences; its name says which data."""
    _, test, (_, english), what = load()
    return Score(f"BLEU on {what}", bleu(told(predict, english, test.source), test.references))


def training(progress: Progress) -> tuple[Array, Array]:
    data.fetch(progress)
    part = load()[0]
    return part.source, part.target


def vocabularies() -> dict[str, Words]:
    german, english = load()[2]
    return {"source": german.words, "tokens": english.words}


def task() -> Task:
    length = Axis("length", 2, LENGTH)
    return Task(
        "translation", model, example, {"source": {0: "batch", 1: length}}, ("tokens",), calibration, score,
        Loop((Stage(error, training, epochs=6, clip=1.0),)), "BiLSTM encoder, attention decoder: German to English",
        data.LICENCE, decoding=decoding(LENGTH + 4, length, vocabularies),
    )  # fmt: skip

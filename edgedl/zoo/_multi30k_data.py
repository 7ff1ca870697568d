"""Multi30k: descriptions of 31,014 photos, German and English pairs, and five independent English ones of each photo.

Source: D. Elliott et al., Multi30K: multilingual English-German image descriptions, 2016, https://github.com/multi30k/dataset.
The repository states no licence: the files are loaded from where the user has them, and never redistributed. The sentences of
a small grammar stand in where they cannot be had.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedl.datasets import Dataset, no_progress, read
from edgedl.errors import Unavailable
from edgedl.task import Progress
from edgedl.zoo._text import Words, words_of

LICENCE = "none stated (multi30k/dataset): not to be redistributed; stand-in: Apache-2.0"
_PAIRS = tuple(f"task1/raw/{part}.{language}.gz" for part in ("train", "test_2016_flickr") for language in ("de", "en"))
_FIVES = tuple(f"task2/raw/{part}.{number}.en.gz" for part in ("train", "test_2016") for number in range(1, 6))
MULTI30K = Dataset(
    "multi30k",
    "https://codeload.github.com/multi30k/dataset/zip/refs/heads/master",
    LICENCE,
    (*_PAIRS, *_FIVES),
    "ff69669a5f606f8fd3477e7e715fcd5185275e82bce6f403bf4e74a3c6d17a17",
    inside="data",
    size=60_000_000,
)
STAND_IN = "the stand-in, sentences of a small grammar"

Sentences = tuple[Words, ...]
"""One description each, or several of one photo: the sentences of an example."""


def fetch(progress: Progress = no_progress) -> Path | None:
    """Where the files lie, downloaded if need be; None if they cannot be had."""
    try:
        return MULTI30K.folder(progress)
    except Unavailable:
        return None


@functools.cache
def translations() -> tuple[list[Sentences], list[Sentences], str]:
    """(training, test, what they are): (German, English) each."""
    if not (folder := fetch()):
        return *divided([(german, english) for german, english, _ in grammar()]), STAND_IN
    training, test = (
        _together(folder, [f"task1/raw/{part}.{language}" for language in ("de", "en")])
        for part in ("train", "test_2016_flickr")
    )
    return training, test, "multi30k"


@functools.cache
def descriptions() -> tuple[list[Sentences], list[Sentences], str]:
    """(training, test, what they are): five descriptions of one photo each."""
    if not (folder := fetch()):
        return *divided([five for _, _, five in grammar()]), STAND_IN
    training, test = (
        _together(folder, [f"task2/raw/{part}.{number}.en" for number in range(1, 6)])
        for part in ("train", "test_2016")
    )
    return training, test, "multi30k"


def _together(folder: Path, names: list[str]) -> list[Sentences]:
    files = MULTI30K.files(folder)
    columns = [read(files[name]).decode("utf-8").strip().split("\n") for name in names]
    return [tuple(map(words_of, lines)) for lines in zip(*columns, strict=True)]


SUBJECTS = (
    ("ein mann", "a man"), ("eine frau", "a woman"), ("ein junge", "a boy"), ("ein mädchen", "a girl"), ("ein hund", "a dog"),
    ("zwei kinder", "two children"),
)  # fmt: skip
VERBS = (
    (("läuft", "laufen"), ("runs", "run")), (("spielt", "spielen"), ("plays", "play")),
    (("schläft", "schlafen"), ("sleeps", "sleep")), (("springt", "springen"), ("jumps", "jump")),
    (("sitzt", "sitzen"), ("sits", "sit")),
)  # fmt: skip
PLACES = (
    ("im park", "in the park"), ("am strand", "on the beach"), ("auf der straße", "on the street"), ("im schnee", "in the snow"),
    ("auf dem gras", "on the grass"), ("vor einem haus", "in front of a house"),
)  # fmt: skip


def grammar() -> list[tuple[Words, Words, Sentences]]:
    """(German, English, five ways to say it in English) of every subject, verb and place."""
    return [_said(*parts) for parts in itertools.product(SUBJECTS, VERBS, PLACES)]


def _said(
    subject: Sequence[str], verb: Sequence[Sequence[str]], place: Sequence[str]
) -> tuple[Words, Words, Sentences]:
    many = subject[1].startswith("two")
    german, english = verb[0][many], verb[1][many]
    five = (
        f"{subject[1]} {english} {place[1]}.", f"{place[1]}, {subject[1]} {english}.", f"{subject[1]} is seen {place[1]}.",
        f"someone {verb[1][0]} {place[1]}.", f"there is {subject[1]} that {english}.",
    )  # fmt: skip
    sentence = f"{subject[1]} {english} {place[1]}."
    return words_of(f"{subject[0]} {german} {place[0]}."), words_of(sentence), tuple(map(words_of, five))


def divided(examples: list[Sentences]) -> tuple[list[Sentences], list[Sentences]]:
    """(training, test): every fifth in a seeded order is tested on."""
    order = np.random.default_rng(0).permutation(len(examples))
    return [examples[index] for index in order if index % 5], [examples[index] for index in order if not index % 5]

"""Surnames in 18 languages: 20,050 lines, some 17,000 unique names, read as characters.

Source: S. Robertson, practical-pytorch, https://github.com/spro/practical-pytorch/tree/master/data/names, MIT.
A name that several languages have is in the set once for each; all of them are in one part of the split.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np

from edgedl.datasets import Dataset, read
from edgedl.spec import Array
from edgedl.task import Predict, Score
from edgedl.zoo._split import Split, as_batches, hits

LICENCE = "MIT (practical-pytorch)"
LANGUAGES = (
    "Arabic", "Chinese", "Czech", "Dutch", "English", "French", "German", "Greek", "Irish", "Italian", "Japanese",
    "Korean", "Polish", "Portuguese", "Russian", "Scottish", "Spanish", "Vietnamese",
)  # fmt: skip
NAMES = Dataset(
    "names",
    "https://codeload.github.com/spro/practical-pytorch/zip/refs/heads/master",
    LICENCE,
    tuple(f"{language}.txt" for language in LANGUAGES),
    "c89c2ba6b3883dbafb2db5a9445be441a83181727754a08fcaceec0ed142e363",
    inside="data/names",
    size=6_000_000,
)
CHARACTERS = "\0abcdefghijklmnopqrstuvwxyz '-.,"
"""The alphabet; number 0 fills a name up."""

LENGTH = 20
HELD_OUT = 0.2


def numbers(name: str) -> list[int]:
    """The characters of a name as numbers in CHARACTERS: lower case, without accents, others left out."""
    letters = unicodedata.normalize("NFKD", name.lower())
    return [CHARACTERS.index(letter) for letter in letters if letter in CHARACTERS[1:]][:LENGTH]


def encode(names: list[str]) -> Array:
    """[n, LENGTH] int64, filled up with 0 on the right."""
    rows = np.zeros((len(names), LENGTH), np.int64)
    for row, name in zip(rows, names, strict=True):
        found = numbers(name)
        row[: len(found)] = found
    return rows


@functools.cache
def load() -> tuple[Split, Split]:
    """(training, held out): the unique names, split by name with a fixed seed."""
    folder = NAMES.folder()
    pairs = sorted(
        {
            (name.strip(), label)
            for label, language in enumerate(LANGUAGES)
            for name in read(folder / f"{language}.txt").decode("utf-8").split("\n")
            if numbers(name)
        }
    )
    return divided(pairs)


def divided(pairs: list[tuple[str, int]]) -> tuple[Split, Split]:
    names = sorted({name for name, _ in pairs})
    order = np.random.default_rng(0).permutation(len(names))
    held_out = {names[index] for index in order[: int(HELD_OUT * len(names))]}
    parts = [[pair for pair in pairs if (pair[0] in held_out) == wanted] for wanted in (False, True)]
    training, rest = (
        Split(encode([name for name, _ in part]), np.array([label for _, label in part], np.int64)) for part in parts
    )
    return training, rest


def example() -> dict[str, Array]:
    return {"characters": encode(["Satoshi"])}


def calibration() -> list[dict[str, Array]]:
    """256 training names in batches of 16."""
    return as_batches("characters", _shuffled(load()[0].inputs)[:256])


def _shuffled(rows: Array) -> Array:
    shuffled: Array = np.random.default_rng(1).permutation(rows)
    return shuffled


def accuracy(predict: Predict) -> Score:
    """Share of the held-out names whose highest logit is the right language."""
    return hits(predict, "characters", load()[1])

"""Photos of blood smears with captions such as `red cells, one white cell, two platelets`.

Source: BCCD_Dataset, MIT (see _cells_data and _photos_data). Nobody wrote the captions: they are made here of the counted annotations. Drawn
pictures of discs stand in where the photos cannot be had.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgedl.errors import Unavailable
from edgedl.spec import Array
from edgedl.zoo import _photos_data as photos
from edgedl.zoo._cells_data import KINDS
from edgedl.zoo._photos_data import HEIGHT, WIDTH, Photos
from edgedl.zoo._text import Vocabulary, Words, words_of

CELL = 8
"""Pixels of the picture that one place of a density map stands for."""

LENGTH = 11
"""Tokens of a caption, the END among them."""

WHITE, PLATELETS = ("no", "one", "two"), ("no", "one", "two", "several")
"""The last word is for all that are more."""

STAND_IN = "the stand-in, drawn discs"


def caption(red: int, white: int, platelets: int) -> Words:
    """Of the counts of a photo. Red cells are there or not: how many, so small a network does not learn to say."""
    some, few = WHITE[min(white, len(WHITE) - 1)], PLATELETS[min(platelets, len(PLATELETS) - 1)]
    cells, plates = "cell" if some == "one" else "cells", "platelet" if few == "one" else "platelets"
    return words_of(f"{'' if red else 'no '}red cells, {some} white {cells}, {few} {plates}")


VOCABULARY = Vocabulary.of([caption(*counts) for counts in itertools.product(range(2), range(3), range(4))], 64)


@dataclass(frozen=True)
class Captioned:
    """images: [n, 3, 120, 160] uint8. density: [n, 3, 15, 20] float32, the sum of a map is a count. captions: [n, 11] int64."""

    images: Array
    density: Array
    captions: Array


@functools.cache
def load() -> tuple[Captioned, Captioned, str]:
    """(training, held out by the set's own test list, what they are)."""
    try:
        training, held_out = photos.load()
    except Unavailable:
        return captioned(drawn(200, 0)), captioned(drawn(50, 1)), STAND_IN
    return captioned(training), captioned(held_out), "bccd"


def captioned(part: Photos) -> Captioned:
    counts = [np.bincount(kinds, minlength=len(KINDS)) for _, kinds in part.truth]
    captions = VOCABULARY.rows([caption(*map(int, kinds)) for kinds in counts], LENGTH)
    return Captioned(part.images, np.stack([density(*truth) for truth in part.truth]), captions)


def density(boxes: Array, kinds: Array) -> Array:
    """[3, 15, 20]: one for each box, shared by the four places around its middle. V. Lempitsky, A. Zisserman, NIPS 2010."""
    maps = np.zeros((len(KINDS), HEIGHT // CELL, WIDTH // CELL), np.float32)
    for (x, y), kind in zip((boxes[:, :2] + boxes[:, 2:]) / 2, kinds, strict=True):
        for row, share in _shares(y, maps.shape[1]):
            for column, other in _shares(x, maps.shape[2]):
                maps[kind, row, column] += share * other
    return maps


def _shares(middle: float, places: int) -> Iterator[tuple[int, float]]:
    """(place, share) of a point along one axis, which is given as a share of its length."""
    at = float(middle) * places - 0.5
    first = int(np.floor(at))
    yield min(max(first, 0), places - 1), 1 - (at - first)
    yield min(max(first + 1, 0), places - 1), at - first


DISCS = (((200, 120, 120), 9, 20), ((110, 60, 150), 12, 3), ((130, 60, 140), 3, 4))
"""(colour, radius in pixels, more than there ever are) of each kind"""


def drawn(count: int, seed: int) -> Photos:
    """Pictures of discs instead of cells."""
    generator = np.random.default_rng(seed)
    images, truth = zip(*(_drawing(generator) for _ in range(count)), strict=True)
    return Photos(np.stack(images), truth)


def _drawing(generator: np.random.Generator) -> tuple[Array, tuple[Array, Array]]:
    image = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    found = []
    for kind, (colour, radius, most) in enumerate(DISCS):
        for _ in range(generator.integers(most)):
            y, x = generator.integers(radius, HEIGHT - radius), generator.integers(radius, WIDTH - radius)
            image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = colour
            found.append((x - radius, y - radius, x + radius, y + radius, kind))
    told = np.array(found, np.float32).reshape(-1, 5)
    boxes = told[:, :4] / np.array([WIDTH, HEIGHT] * 2, np.float32)
    return image.transpose(2, 0, 1), (boxes, told[:, 4].astype(np.int64))

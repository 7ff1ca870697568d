"""Photos of blood smears with captions such as `some red cells, one white cell, two platelets`.

Source: BCCD_Dataset, MIT (see _cells_data). Nobody wrote the captions: they are made here of the counted annotations. Drawn
pictures of discs stand in where the photos cannot be had.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.datasets import no_progress, read
from edgedl.errors import Unavailable
from edgedl.spec import Array
from edgedl.task import Progress
from edgedl.zoo._cells_data import BCCD, KINDS, LICENCE, Box, boxes, opened
from edgedl.zoo._text import Vocabulary, Words, words_of

__all__ = ["BCCD", "LICENCE"]

HEIGHT, WIDTH = 120, 160
"""Of a picture, a quarter of the photo's."""

CELL = 8
"""Pixels of the picture that one place of a density map stands for."""

SCALE = 4
LENGTH = 11
"""Tokens of a caption, the END among them."""

RED, WHITE, PLATELETS = (
    (("no", 1), ("few", 10), ("some", 14), ("many", 999)),
    ("no", "one", "two"),
    ("no", "one", "two", "several"),
)
"""Of the red cells each word counts up to below its number; of the others the last word is for all that are more."""

STAND_IN = "the stand-in, drawn discs"


def caption(red: int, white: int, platelets: int) -> Words:
    """Of the counts of a photo."""
    many = next(word for word, limit in RED if red < limit)
    some, few = WHITE[min(white, len(WHITE) - 1)], PLATELETS[min(platelets, len(PLATELETS) - 1)]
    cells, plates = "cell" if some == "one" else "cells", "platelet" if few == "one" else "platelets"
    return words_of(f"{many} red cells, {some} white {cells}, {few} {plates}")


VOCABULARY = Vocabulary.of([caption(*counts) for counts in itertools.product((0, 1, 12, 20), range(3), range(4))], 64)


@dataclass(frozen=True)
class Photos:
    """images: [n, 3, 120, 160] float32 in 0..1. density: [n, 3, 15, 20] float32, the sum of a map is a count. captions: [n, 11] int64."""

    images: Array
    density: Array
    captions: Array


@functools.cache
def load() -> tuple[Photos, Photos, str]:
    """(training, held out by the set's own test list, what they are)."""
    if folder := fetch():
        return _photos(folder, "trainval"), _photos(folder, "test"), "bccd"
    return drawn(200, 0), drawn(50, 1), STAND_IN


def fetch(progress: Progress = no_progress) -> Path | None:
    """Where the photos lie, downloaded if need be; None if they cannot be had."""
    try:
        return BCCD.folder(progress)
    except Unavailable:
        return None


def _photos(folder: Path, part: str) -> Photos:
    names = sorted(read(folder / "ImageSets" / "Main" / f"{part}.txt").decode().split())
    return together(_photo(folder, name) for name in names)


def _photo(folder: Path, name: str) -> tuple[Array, list[Box]]:
    image = opened(folder / "JPEGImages" / f"{name}.jpg").resize((WIDTH, HEIGHT))
    found = boxes(read(folder / "Annotations" / f"{name}.xml"))
    return np.asarray(image), [(kind, tuple(edge / SCALE for edge in box)) for kind, box in found]  # type: ignore[misc]


def together(photos: Iterable[tuple[Array, list[Box]]]) -> Photos:
    """From ([120, 160, 3] uint8, boxes in its pixels) each."""
    images, found = zip(*photos, strict=True)
    counts = [[kind for kind, _ in cells] for cells in found]
    captions = [caption(*(kinds.count(kind) for kind in range(len(KINDS)))) for kinds in counts]
    return Photos(
        np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32) / 255,
        np.stack([density(cells) for cells in found]),
        VOCABULARY.rows(captions, LENGTH),
    )


def density(cells: Iterable[Box]) -> Array:
    """[3, 15, 20]: one for each box, shared by the four places around its middle. V. Lempitsky, A. Zisserman, NIPS 2010."""
    maps = np.zeros((len(KINDS), HEIGHT // CELL, WIDTH // CELL), np.float32)
    for kind, (left, top, right, bottom) in cells:
        for row, share in _shares((top + bottom) / 2, maps.shape[1]):
            for column, other in _shares((left + right) / 2, maps.shape[2]):
                maps[kind, row, column] += share * other
    return maps


def _shares(middle: float, places: int) -> Iterator[tuple[int, float]]:
    """(place, share) of a point in pixels, along one axis."""
    at = middle / CELL - 0.5
    first = int(np.floor(at))
    yield min(max(first, 0), places - 1), 1 - (at - first)
    yield min(max(first + 1, 0), places - 1), at - first


DISCS = (((200, 120, 120), 9, 20), ((110, 60, 150), 12, 3), ((130, 60, 140), 3, 4))
"""(colour, radius in pixels, more than there ever are) of each kind"""


def drawn(count: int, seed: int) -> Photos:
    """Pictures of discs instead of cells."""
    generator = np.random.default_rng(seed)
    return together(_drawing(generator) for _ in range(count))


def _drawing(generator: np.random.Generator) -> tuple[Array, list[Box]]:
    image = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    found: list[Box] = []
    for kind, (colour, radius, most) in enumerate(DISCS):
        for _ in range(generator.integers(most)):
            y, x = generator.integers(radius, HEIGHT - radius), generator.integers(radius, WIDTH - radius)
            image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = colour
            found.append((kind, (x - radius, y - radius, x + radius, y + radius)))
    return image, found

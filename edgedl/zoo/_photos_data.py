"""Whole photos of the blood-smear set of _cells_data with all of their boxes, for detection."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.datasets import read
from edgedl.spec import Array
from edgedl.zoo import _cells_data as cells
from edgedl.zoo._split import as_batches

HEIGHT, WIDTH = 120, 160
"""Pixels of a photo; the files have four times as many each way."""


@dataclass(frozen=True)
class Photos:
    """images: [n, 3, 120, 160] uint8. truth: (boxes [k, 4] float32 as shares of the sides, kinds [k] int64) of each."""

    images: Array
    truth: tuple[tuple[Array, Array], ...]


@functools.cache
def load() -> tuple[Photos, Photos]:
    """(training, held out): the set's own lists."""
    folder = cells.BCCD.folder()
    return _part(folder, "trainval"), _part(folder, "test")


def _part(folder: Path, name: str) -> Photos:
    names = sorted(read(folder / "ImageSets" / "Main" / f"{name}.txt").decode().split())
    found = [photo(folder, name) for name in names]
    return Photos(np.stack([image for image, _, _ in found]), tuple((boxes, kinds) for _, boxes, kinds in found))


def photo(folder: Path, name: str) -> tuple[Array, Array, Array]:
    """(image [3, 120, 160] uint8, boxes, kinds)."""
    picture = cells.opened(folder / "JPEGImages" / f"{name}.jpg")
    told = list(cells.boxes(read(folder / "Annotations" / f"{name}.xml")))
    boxes = np.array([box for _, box in told], np.float32).reshape(-1, 4) / np.array(picture.size * 2, np.float32)
    image = np.asarray(picture.resize((WIDTH, HEIGHT))).transpose(2, 0, 1)
    return np.ascontiguousarray(image), boxes, np.array([kind for kind, _ in told], np.int64)


def as_input(images: Array) -> Array:
    """uint8 -> float32 in 0..1."""
    return images.astype(np.float32) / 255


def example() -> dict[str, Array]:
    return {"image": as_input(load()[0].images[:1])}


def calibration() -> list[dict[str, Array]]:
    """128 training photos in batches of 8."""
    return as_batches("image", as_input(load()[0].images[:128]), 8)

"""Blood cells: 32x32 crops of the 364 photos of a blood-smear set, as red cell, white cell or platelet.

Source: Shenggan, BCCD_Dataset, https://github.com/Shenggan/BCCD_Dataset, MIT. The crops are the annotated boxes; of the
4,155 red cells the first three of each photo. The held-out ones come from the photos of the set's own test list.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from edgedl.datasets import Dataset, read
from edgedl.errors import Unavailable
from edgedl.spec import Array
from edgedl.task import Predict, Score
from edgedl.zoo._split import Split, as_batches, hits

LICENCE = "MIT (BCCD_Dataset)"
BCCD = Dataset(
    "bccd",
    "https://codeload.github.com/Shenggan/BCCD_Dataset/zip/refs/heads/master",
    LICENCE,
    ("Annotations/*.xml", "JPEGImages/*.jpg", "ImageSets/Main/*.txt"),
    "debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1",
    inside="BCCD",
    size=8_000_000,
)
KINDS = ("RBC", "WBC", "Platelets")
SIDE = 32
RED_CELLS = 3
"""Red cells of one photo that are used: there are eleven times as many of them."""

Box = tuple[int, tuple[int, int, int, int]]
"""(number of the kind, (left, top, right, bottom))"""


@functools.cache
def load() -> tuple[Split, Split]:
    """(training, held out); inputs: [n, 3, 32, 32] float32 in 0..1."""
    folder = BCCD.folder()
    return _part(folder, "trainval"), _part(folder, "test")


def _part(folder: Path, name: str) -> Split:
    photos = sorted(read(folder / "ImageSets" / "Main" / f"{name}.txt").decode().split())
    found = [cell for photo in photos for cell in cells(folder, photo)]
    images = np.stack([image for image, _ in found]).astype(np.float32).transpose(0, 3, 1, 2) / 255
    return Split(np.ascontiguousarray(images), np.array([kind for _, kind in found], np.int64))


def cells(folder: Path, photo: str) -> Iterator[tuple[Array, int]]:
    """(crop [32, 32, 3] uint8, number of its kind) of the annotated cells of one photo."""
    image, seen = opened(folder / "JPEGImages" / f"{photo}.jpg"), 0
    for kind, box in boxes(read(folder / "Annotations" / f"{photo}.xml")):
        seen += KINDS[kind] == "RBC"
        if KINDS[kind] != "RBC" or seen <= RED_CELLS:
            yield np.asarray(image.resize((SIDE, SIDE), box=box)), kind


def opened(path: Path) -> Any:
    """The picture as RGB."""
    try:
        from PIL import Image
    except ImportError as error:
        raise Unavailable("photos are read by Pillow, which is not installed: pip install 'edgedl[train]'") from error
    return Image.open(path).convert("RGB")


def boxes(annotation: bytes) -> Iterator[Box]:
    """The boxes of a Pascal VOC annotation that enclose anything."""
    for found in ElementTree.fromstring(annotation).iter("object"):
        left, top, right, bottom = (
            int(found.findtext(f"bndbox/{edge}", "0")) for edge in ("xmin", "ymin", "xmax", "ymax")
        )
        if left < right and top < bottom:
            yield KINDS.index(found.findtext("name", "")), (left, top, right, bottom)


def example() -> dict[str, Array]:
    return {"image": load()[0].inputs[:1]}


def calibration() -> list[dict[str, Array]]:
    """256 training crops in batches of 16."""
    rows = np.random.default_rng(0).permutation(load()[0].inputs)
    return as_batches("image", rows[:256])


def accuracy(predict: Predict) -> Score:
    """Share of the held-out crops whose highest logit is the right kind."""
    return hits(predict, "image", load()[1])

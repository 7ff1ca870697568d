"""10,000 handwritten digits of 28x28 pixels from MNIST; without them the bundled digits, enlarged, stand in.

Source: J. Cazala, https://github.com/cazala/mnist/tree/master/src/digits, MIT; from Y. LeCun, C. Cortes, C. Burges, MNIST.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from edgedl.datasets import Dataset, no_progress, read
from edgedl.errors import Unavailable
from edgedl.spec import Array
from edgedl.task import Predict, Progress, Score
from edgedl.zoo import _digits_data as digits
from edgedl.zoo._split import Split, as_batches, hits

LICENCE = "MIT (cazala/mnist); stand-in: CC BY 4.0"
MNIST = Dataset(
    "mnist10k",
    "https://codeload.github.com/cazala/mnist/zip/refs/heads/master",
    LICENCE,
    ("[0-9].json",),
    "eb71584b40cfb82301ec98c88e56dfc4d8620c0c17bae9495399e371e62760d5",
    inside="src/digits",
    size=20_000_000,
)
SIDE = 28
HELD_OUT = 0.2


@functools.cache
def load() -> tuple[Split, Split, str]:
    """(training, held out, what they are); inputs: [n, 1, 28, 28] float32 in 0..1."""
    if folder := fetch():
        return *_divided(folder), "mnist10k"
    return *_stand_in(), "the stand-in, digits of scikit-learn"


def fetch(progress: Progress = no_progress) -> Path | None:
    """Where MNIST lies, downloaded if need be; None if it cannot be had."""
    try:
        return MNIST.folder(progress)
    except Unavailable:
        return None


def _divided(folder: Path) -> tuple[Split, Split]:
    by_label = [_images(folder, label) for label in range(10)]
    images = np.concatenate(by_label)
    labels = np.repeat(np.arange(10), [len(part) for part in by_label])
    order = np.random.default_rng(0).permutation(len(images))
    start = int(HELD_OUT * len(order))
    training, held_out = (Split(images[rows], labels[rows]) for rows in (order[start:], order[:start]))
    return training, held_out


def _images(folder: Path, label: int) -> Array:
    path = MNIST.files(folder)[f"{label}.json"]
    return np.array(json.loads(read(path))["data"], np.float32).reshape(-1, 1, SIDE, SIDE)


def _stand_in() -> tuple[Split, Split]:
    """The 8x8 digits, each pixel as 3x3, in a frame of two."""
    training, held_out = (Split(_enlarged(part.images), part.labels) for part in digits.load())
    return training, held_out


def _enlarged(images: Array) -> Array:
    return np.pad(images.repeat(3, 2).repeat(3, 3), ((0, 0), (0, 0), (2, 2), (2, 2)))


def example() -> dict[str, Array]:
    return {"image": load()[0].inputs[:1]}


def calibration() -> list[dict[str, Array]]:
    """256 training images in batches of 16."""
    return as_batches("image", load()[0].inputs[:256])


def accuracy(predict: Predict) -> Score:
    """Share of the held-out images whose highest logit is the right class; its name says which data."""
    _, held_out, what = load()
    return hits(predict, "image", held_out, f"accuracy on {what}")

"""Handwritten digits, 8x8 pixels: the test part of the UCI set as scikit-learn bundles it (1,797 images, no download).

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, CC BY 4.0.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from edgedl.errors import Unavailable
from edgedl.spec import Array
from edgedl.task import Predict, Progress, Score
from edgedl.zoo._split import as_batches

LICENCE = "CC BY 4.0"
HELD_OUT = 0.25


@dataclass(frozen=True)
class Split:
    """images: [n, 1, 8, 8] float32 in 0..1; labels: [n] int64."""

    images: Array
    labels: Array


@functools.cache
def load() -> tuple[Split, Split]:
    """(training, held out), split by class with a fixed seed."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise Unavailable(
            "the digits come with scikit-learn, which is not installed: pip install 'edgedl[train]'"
        ) from error
    data = load_digits()
    images = (data.images[:, None] / 16.0).astype(np.float32)
    parts = train_test_split(
        images, data.target.astype(np.int64), test_size=HELD_OUT, stratify=data.target, random_state=0
    )
    return Split(parts[0], parts[2]), Split(parts[1], parts[3])


def training(progress: Progress) -> tuple[Array, Array]:
    """(images, labels) of the training part."""
    part = load()[0]
    return part.images, part.labels


def calibration() -> list[dict[str, Array]]:
    """256 training images in batches of 16."""
    return as_batches("image", load()[0].images[:256])


def example() -> dict[str, Array]:
    return {"image": load()[0].images[:1]}


def accuracy(predict: Predict) -> Score:
    """Share of the held-out images whose highest logit is the right class."""
    held_out = load()[1]
    hits = predict({"image": held_out.images})["logits"].argmax(1) == held_out.labels
    return Score("accuracy", float(hits.mean()), samples=tuple(map(float, hits)))

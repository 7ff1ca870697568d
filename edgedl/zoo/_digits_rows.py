"""The 8x8 digits of _digits_data as sequences of eight rows."""

from __future__ import annotations

from edgedl.spec import Array
from edgedl.task import Predict, Progress, Score
from edgedl.zoo import _digits_data as digits
from edgedl.zoo._split import Split, as_batches, hits
from edgedl.zoo._supervised import classifier

LICENCE = digits.LICENCE


def load() -> tuple[Split, Split]:
    """(training, held out); inputs: [n, 8 rows, 8 pixels] float32 in 0..1."""
    training, held_out = (Split(part.images[:, 0], part.labels) for part in digits.load())
    return training, held_out


def example() -> dict[str, Array]:
    return {"rows": load()[0].inputs[:1]}


def calibration() -> list[dict[str, Array]]:
    """256 training images in batches of 16."""
    return as_batches("rows", load()[0].inputs[:256])


def accuracy(predict: Predict) -> Score:
    """Share of the held-out images whose highest logit is the right class."""
    return hits(predict, "rows", load()[1])


def training(progress: Progress) -> tuple[Array, Array]:
    part = load()[0]
    return part.inputs, part.labels


fit = classifier(training, epochs=30)

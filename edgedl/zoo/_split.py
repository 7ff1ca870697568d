"""What the data sets of the zoo share: a part of one, its batches, and the share of right answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedl.spec import Array
from edgedl.task import Predict, Score


@dataclass(frozen=True)
class Split:
    """One part of a data set. inputs: an example each row; labels: [n] int64."""

    inputs: Array
    labels: Array


def as_batches(name: str, rows: Array, size: int = 16) -> list[dict[str, Array]]:
    """The rows in batches, as feeds of the input `name`."""
    return [{name: rows[start : start + size]} for start in range(0, len(rows), size)]


def hits(predict: Predict, name: str, held_out: Split, score: str = "accuracy", size: int = 256) -> Score:
    """Share of the held-out examples whose highest logit is the right class."""
    logits = [predict(feeds)["logits"] for feeds in as_batches(name, held_out.inputs, size)]
    right = np.concatenate(logits).argmax(1) == held_out.labels
    return Score(score, float(right.mean()), samples=tuple(map(float, right)))

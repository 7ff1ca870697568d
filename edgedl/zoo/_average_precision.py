"""Average precision of a detector, as the PASCAL VOC challenge has counted since 2010.

M. Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, IJCV 2015: a detection is right if it overlaps an
object of its kind, which no surer detection has taken, by half or more; the area under the curve of precision over recall, with
precision made non-increasing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgedl.spec import Array
from edgedl.zoo._boxes import Found, iou


def mean_average_precision(found: Sequence[Found], truth: Sequence[tuple[Array, Array]], kinds: int) -> float:
    """truth: (boxes [n, 4], kinds [n]) of each picture; the mean over the kinds that there are."""
    there = [kind for kind in range(kinds) if any((labels == kind).any() for _, labels in truth)]
    return float(np.mean([average_precision(found, truth, kind) for kind in there]))


def average_precision(
    found: Sequence[Found], truth: Sequence[tuple[Array, Array]], kind: int, overlap: float = 0.5
) -> float:
    scores, right = [], []
    for one, (boxes, labels) in zip(found, truth, strict=True):
        own = one.kinds == kind
        scores.append(one.scores[own])
        right.append(matched(one.boxes[own], boxes[labels == kind], overlap))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    objects = sum(int((labels == kind).sum()) for _, labels in truth)
    return area(np.concatenate(right)[order], objects)


def matched(boxes: Array, objects: Array, overlap: float) -> Array:
    """Whether each box, the surest first, is the first on the object that it overlaps most."""
    right, taken = np.zeros(len(boxes), bool), np.zeros(len(objects), bool)
    shared = iou(boxes, objects)
    for place in range(len(boxes) if len(objects) else 0):
        best = int(shared[place].argmax())
        right[place] = shared[place, best] >= overlap and not taken[best]
        taken[best] |= right[place]
    return right


def area(right: Array, objects: int) -> float:
    """Under precision over recall."""
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * right).sum() / max(objects, 1))

"""From a detector's maps to boxes on the device, in numpy alone: decoding and non-maximum suppression.

A box is (left, top, right, bottom) as shares of the picture's width and height. The maps are those of a centre-point detector,
X. Zhou et al., Objects as Points, 2019, https://arxiv.org/abs/1904.07850: in each cell the score of each kind of
object that has its centre there, and the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedl.spec import Array


@dataclass(frozen=True)
class Found:
    """The objects of one picture, the surest first. boxes: [n, 4] float32; scores: [n] in 0..1; kinds: [n] int64."""

    boxes: Array
    scores: Array
    kinds: Array


def detections(
    boxes: Array, scores: Array, least: float = 0.05, overlap: float | None = 0.45, most: int = 100
) -> Found:
    """[cells, 4] and [cells, kinds] of one picture -> its objects.

    least: a score below it is nothing. overlap: of two boxes of a kind that overlap more than that, the surer one
    stays; None where the graph has suppressed the others already.
    """
    cells, kinds = np.nonzero(scores >= least)
    values = scores[cells, kinds]
    order = np.argsort(-values, kind="stable")[: 10 * most]
    found = Found(boxes[cells[order]], values[order], kinds[order])
    kept = np.arange(len(order))[:most] if overlap is None else suppressed(found, overlap, most)
    return Found(found.boxes[kept], found.scores[kept], found.kinds[kept])


def suppressed(found: Found, overlap: float, most: int) -> Array:
    """Greedy non-maximum suppression of each kind by itself: the first `most` places that stay, the surest first."""
    left, kept = np.arange(len(found.scores)), list[int]()
    while len(left) and len(kept) < most:
        surest, left = int(left[0]), left[1:]
        kept.append(surest)
        near = iou(found.boxes[surest][None], found.boxes[left])[0] > overlap
        left = left[~(near & (found.kinds[left] == found.kinds[surest]))]
    return np.array(kept, np.int64)


def iou(one: Array, other: Array) -> Array:
    """[n, 4] and [m, 4] -> [n, m]: intersection over union."""
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    opposite = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1) for boxes in (one, other)]
    found: Array = shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-12)
    return found

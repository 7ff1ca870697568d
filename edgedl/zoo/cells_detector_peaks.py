"""The detector of blood cells with the suppression of its neighbours inside the graph, as a max pooling.

Data: BCCD_Dataset, MIT. They and the network are those of `cells_detector`, whose weights fit. A
cell's score stays where it is the highest of the 3 by 3
around it, and is 0 elsewhere, so that a device needs no more than a threshold. mAP50 on unseen photos: 0.78. Architecture: section 4 of
X. Zhou et al., Objects as Points, 2019, https://arxiv.org/abs/1904.07850.
"""

from __future__ import annotations

import torch
from torch.nn.functional import max_pool2d

from edgedl.task import Predict, Score, Task
from edgedl.zoo import _cells_data as cells
from edgedl.zoo import _photos_data as data
from edgedl.zoo.cells_detector import FIT, CellsDetector, map50


class CellsDetectorPeaks(CellsDetector):
    """[batch, 3, 120, 160] float32 in 0..1 -> boxes [batch, 1200, 4], scores [batch, 1200, 3], 0 where there is no peak."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, shapes = self.maps(image)
        scores = logits.sigmoid()
        peaks = scores * (scores >= max_pool2d(scores, 3, 1, 1)).to(scores.dtype)
        return self.boxes(shapes), peaks.flatten(2).transpose(1, 2)


def map50_of_peaks(predict: Predict) -> Score:
    """Without any suppression outside of the graph."""
    return map50(predict, overlap=None)


def task() -> Task:
    return Task(
        "cells_detector_peaks", CellsDetectorPeaks, data.example, {"image": {0: "batch"}}, ("boxes", "scores"),
        data.calibration, map50_of_peaks, FIT, "detector of blood cells, suppression in the graph", cells.LICENCE,
    )  # fmt: skip

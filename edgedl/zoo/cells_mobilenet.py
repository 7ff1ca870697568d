"""A small MobileNet that tells red blood cells, white blood cells and platelets apart on photo crops.

Data: the annotated boxes of 364 photos, BCCD_Dataset, MIT (see _cells_data). 0.997 on the cells of unseen photos.
Architecture: depthwise separable convolutions, A. Howard et al., MobileNets, 2017, https://arxiv.org/abs/1704.04861.
"""

from __future__ import annotations

import torch
from torch import nn

from edgedl.spec import Array
from edgedl.task import Progress, Task
from edgedl.zoo import _cells_data as data
from edgedl.zoo._separable import convolution, separable
from edgedl.zoo._supervised import classifier


class CellsMobileNet(nn.Module):
    """[batch, 3, 32, 32] float32 in 0..1 -> [batch, 3] logits."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(3, width, 3, 2), separable(width, 2 * width), separable(2 * width, 4 * width, 2),
            separable(4 * width, 4 * width), separable(4 * width, 8 * width, 2), separable(8 * width, 8 * width),
        )  # fmt: skip
        self.head = nn.Linear(8 * width, len(data.KINDS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image).mean((2, 3)))
        return logits


def training(progress: Progress) -> tuple[Array, Array]:
    data.BCCD.folder(progress)
    part = data.load()[0]
    return part.inputs, part.labels


def task() -> Task:
    return Task(
        "cells_mobilenet", CellsMobileNet, data.example, {"image": {0: "batch"}}, ("logits",), data.calibration,
        data.accuracy, classifier(training, epochs=15), "MobileNet on photos of blood cells", data.LICENCE,
    )  # fmt: skip

"""A small CNN on handwritten digits: three convolutions and a residual connection."""

from __future__ import annotations

import torch
from torch import nn

from edgedl.task import Task
from edgedl.zoo import _digits_data as data
from edgedl.zoo._supervised import classifier


class DigitsCNN(nn.Module):
    """[batch, 1, 8, 8] float32 -> [batch, 10] logits."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width // 2, 3, padding=1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU()
        )
        self.body = nn.Sequential(
            nn.Conv2d(width // 2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(2)
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.head = nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.body(self.stem(image)))
        x = x + self.residual(x)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


def task() -> Task:
    return Task(
        "digits", DigitsCNN, data.example, {"image": {0: "batch"}}, ("logits",), data.calibration, data.accuracy,
        classifier(data.training, epochs=15), "CNN on 8x8 handwritten digits", data.LICENCE,
    )  # fmt: skip

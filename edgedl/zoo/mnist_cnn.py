"""A CNN on MNIST: three convolutions, two poolings.

Data: 10,000 images of MNIST, cazala/mnist, MIT (see _mnist_data). 0.986 on unseen images. Where they cannot be had, the
digits that scikit-learn bundles stand in, enlarged, and the score is called by their name.
"""

from __future__ import annotations

import torch
from torch import nn

from edgedl.spec import Array
from edgedl.task import Progress, Task
from edgedl.zoo import _mnist_data as data
from edgedl.zoo._supervised import classifier


def convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class MnistCNN(nn.Module):
    """[batch, 1, 28, 28] float32 in 0..1 -> [batch, 10] logits."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(1, width, 5, 2), convolution(width, 2 * width, 3), nn.MaxPool2d(2),
            convolution(2 * width, 2 * width, 3), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(2 * width * 3 * 3, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image))
        return logits


def training(progress: Progress) -> tuple[Array, Array]:
    data.fetch(progress)
    part = data.load()[0]
    return part.inputs, part.labels


def task() -> Task:
    return Task(
        "mnist_cnn", MnistCNN, data.example, {"image": {0: "batch"}}, ("logits",), data.calibration, data.accuracy,
        classifier(training, epochs=6), "CNN on 28x28 handwritten digits", data.LICENCE,
    )  # fmt: skip

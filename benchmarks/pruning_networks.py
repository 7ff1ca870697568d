"""The networks of benchmarks/pruning.py: a ResNet-20 and a MobileNetV2 for handwritten digits of 24x24 pixels.

Data: the 8x8 digits that scikit-learn bundles (CC BY 4.0), each pixel as 3x3.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from edgedl import Loop, Score, Stage, Task
from edgedl.task import Predict, Progress
from edgedl.zoo import _digits_data as digits

EPOCHS = 12


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut: K. He et al., Deep Residual Learning, CVPR 2016."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _conv(inputs, outputs, 3, stride), _conv(outputs, outputs, 3)
        self.shortcut = _conv(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = (self.shortcut(x) + self.second(self.first(x).relu())).relu()
        return out


class Inverted(nn.Module):
    """Expand, depthwise, project: M. Sandler et al., MobileNetV2, CVPR 2018."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int = 6) -> None:
        super().__init__()
        width = inputs * expand
        self.expand, self.depthwise = _conv(inputs, width, 1), _conv(width, width, 3, stride, width)
        self.project, self.residual = _conv(width, outputs, 1), stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.project(self.depthwise(self.expand(x).clamp(0, 6)).clamp(0, 6))
        return x + out if self.residual else out


def _conv(inputs: int, outputs: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Classifier(nn.Module):
    """[batch, 1, 24, 24] float32 in 0..1 -> [batch, 10] logits."""

    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__()
        self.features, self.head = nn.Sequential(*layers), nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image).mean((2, 3)))
        return logits


def resnet20_model() -> nn.Module:
    sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    return Classifier(_conv(1, 16, 3), nn.ReLU(), *(Basic(*size) for size in sizes), width=64)


def mobilenet_model() -> nn.Module:
    sizes = [(16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 1), (96, 96, 1)]
    return Classifier(
        _conv(1, 16, 3), nn.ReLU6(), *(Inverted(*size) for size in sizes), _conv(96, 320, 1), nn.ReLU6(), width=320
    )


@functools.cache
def data() -> tuple[digits.Split, digits.Split]:
    training, held_out = (digits.Split(part.images.repeat(3, 2).repeat(3, 3), part.labels) for part in digits.load())
    return training, held_out


def accuracy(predict: Predict) -> Score:
    held_out = data()[1]
    hits = predict({"image": held_out.images})["logits"].argmax(1) == held_out.labels
    return Score("accuracy", float(hits.mean()), samples=tuple(map(float, hits)))


def calibration() -> list[dict[str, np.ndarray]]:
    images = data()[0].images[:256]
    return [{"image": images[start : start + 16]} for start in range(0, len(images), 16)]


def _loss(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(module(images), labels)


def _training(progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    return data()[0].images, data()[0].labels


def _task(name: str, model: object) -> Task:
    return Task(
        name, model, lambda: {"image": data()[0].images[:1]}, {"image": {0: "batch"}}, ("logits",), calibration, accuracy,
        Loop((Stage(_loss, _training, EPOCHS),)),
    )  # fmt: skip


resnet20, mobilenet = _task("resnet20", resnet20_model), _task("mobilenet", mobilenet_model)

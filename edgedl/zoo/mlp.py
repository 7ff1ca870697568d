"""A multilayer perceptron on handwritten digits."""

from __future__ import annotations

from torch import nn

from edgedl.task import Task
from edgedl.zoo import _digits_data as data
from edgedl.zoo._supervised import classifier


def model() -> nn.Module:
    """[batch, 1, 8, 8] float32 -> [batch, 10] logits."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def task() -> Task:
    return Task(
        "mlp", model, data.example, {"image": {0: "batch"}}, ("logits",), data.calibration, data.accuracy,
        classifier(data.training, epochs=30), "multilayer perceptron on 8x8 handwritten digits", data.LICENCE,
    )  # fmt: skip

"""A multilayer perceptron on handwritten digits."""

from __future__ import annotations

from torch import nn

from edgedl.task import Progress, Task
from edgedl.zoo import _digits_data as data
from edgedl.zoo._supervised import fit_classifier


def model() -> nn.Module:
    """[batch, 1, 8, 8] float32 -> [batch, 10] logits."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def fit(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
    training = data.load()[0]
    return fit_classifier(module, training.images, training.labels, epochs=30, seed=seed, progress=progress)


def task() -> Task:
    return Task(
        "mlp", model, data.example, {"image": {0: "batch"}}, ("logits",), data.calibration, data.accuracy, fit,
        "multilayer perceptron on 8x8 handwritten digits", data.LICENCE,
    )  # fmt: skip

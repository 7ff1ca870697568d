"""Transfer learning on medical data: malignant or benign, from thirty measurements of cell nuclei.

Data: Breast Cancer Wisconsin (Diagnostic), 569 patients, as scikit-learn bundles it; W. Wolberg, O. Mangasarian, N. Street,
W. Street, UCI Machine Learning Repository, 1995, CC BY 4.0. 0.95 on unseen patients. A demonstration, and no medical device.

The training has three parts: the backbone is pre-trained, without any diagnosis, to restore measurements that were
blotted out; it is frozen while a head learns the diagnosis; then both are fine-tuned at a tenth of the learning rate.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from edgedl.errors import Unavailable
from edgedl.loop import Loop, Stage
from edgedl.spec import Array
from edgedl.task import Predict, Progress, Score, Task
from edgedl.zoo._split import Split, as_batches, hits
from edgedl.zoo._supervised import error

LICENCE = "CC BY 4.0"
MEASUREMENTS = 30
HELD_OUT = 0.3
EPOCHS = (30, 15, 15)
"""Of pre-training, of the head alone, of fine-tuning."""

BLOTTED = 0.3
"""Share of the measurements that pre-training hides."""


class Medical(nn.Module):
    """[batch, 30 measurements] float32, standardised -> [batch, 2] logits: malignant, benign."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(MEASUREMENTS, width), nn.ReLU(), nn.Linear(width, 32), nn.ReLU())
        self.head = nn.Linear(32, 2)

    def forward(self, measurements: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone(measurements))
        return logits


@functools.cache
def load() -> tuple[Split, Split]:
    """(training, held out), split by diagnosis with a fixed seed; standardised by the training part."""
    try:
        from sklearn.datasets import load_breast_cancer
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise Unavailable(
            "the measurements come with scikit-learn, which is not installed: pip install 'edgedl[train]'"
        ) from error
    data = load_breast_cancer()
    x, x_held_out, y, y_held_out = train_test_split(
        data.data, data.target.astype(np.int64), test_size=HELD_OUT, stratify=data.target, random_state=0
    )
    mean, deviation = x.mean(0), x.std(0)
    standard, unseen = (((part - mean) / deviation).astype(np.float32) for part in (x, x_held_out))
    return Split(standard, y), Split(unseen, y_held_out)


def example() -> dict[str, Array]:
    return {"measurements": load()[0].inputs[:1]}


def calibration() -> list[dict[str, Array]]:
    """256 training patients in batches of 16."""
    return as_batches("measurements", load()[0].inputs[:256])


def accuracy(predict: Predict) -> Score:
    """Share of the held-out patients whose diagnosis is right."""
    return hits(predict, "measurements", load()[1])


def training(progress: Progress) -> tuple[Array, Array]:
    part = load()[0]
    return part.inputs, part.labels


def restorer(module: nn.Module) -> nn.Module:
    """The backbone under a decoder that is thrown away."""
    return nn.Sequential(module.get_submodule("backbone"), nn.Linear(32, MEASUREMENTS))


def restoration(module: nn.Module, measurements: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Blotted measurements are restored from the others; the diagnosis is not looked at."""
    kept = torch.rand_like(measurements) > BLOTTED
    return mse_loss(module(measurements * kept), measurements)


FIT = Loop(
    (
        Stage(restoration, training, EPOCHS[0], batch=32, subject=restorer),
        Stage(error, training, EPOCHS[1], learning_rate=0.01, batch=32, frozen=("backbone",)),
        Stage(error, training, EPOCHS[2], learning_rate=1e-3, batch=32),
    )
)


def task() -> Task:
    return Task(
        "medical", Medical, example, {"measurements": {0: "batch"}}, ("logits",), calibration, accuracy, FIT,
        "transfer learning: breast cancer from measurements", LICENCE,
    )  # fmt: skip

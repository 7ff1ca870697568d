"""Anomaly detection: an autoencoder learns to redraw normal pictures, and fails on what it has not seen.

Data: the UCI digits that scikit-learn bundles, CC BY 4.0 (see _digits_data). Digits 0 to 4 stand for the normal state, and
only they are trained on; 5 to 9 are the anomalies. A picture's anomaly score is its mean squared error of reconstruction.
AUC on unseen images: 0.97. The network has the form of MLPerf Tiny's (C. Banbury et al., 2021, https://arxiv.org/abs/2106.07597),
whose own set of machine sounds is not used here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from edgedl.loop import Loop, Stage
from edgedl.spec import Array
from edgedl.task import Predict, Progress, Score, Task
from edgedl.zoo import _digits_data as digits
from edgedl.zoo._split import as_batches

NORMAL = 5
"""Digits below it are normal."""


def model() -> nn.Module:
    """[batch, 64 pixels] float32 in 0..1 -> the same, redrawn."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64)
    )


def load() -> tuple[Array, Array, Array]:
    """(normal pictures for training, held-out pictures, whether each of the latter is an anomaly)."""
    training, held_out = digits.load()
    normal = training.images[training.labels < NORMAL]
    return normal.reshape(-1, 64), held_out.images.reshape(-1, 64), held_out.labels >= NORMAL


def example() -> dict[str, Array]:
    return {"pixels": load()[0][:1]}


def calibration() -> list[dict[str, Array]]:
    """256 normal pictures in batches of 16."""
    return as_batches("pixels", load()[0][:256])


def auc(predict: Predict) -> Score:
    """Chance that an anomaly has a higher anomaly score than a normal picture; a sample for each anomaly."""
    _, pixels, anomalous = load()
    errors = ((predict({"pixels": pixels})["redrawn"] - pixels) ** 2).mean(1)
    above = errors[anomalous][:, None] > errors[~anomalous]
    samples = above.mean(1)
    return Score("AUC", float(np.mean(samples)), samples=tuple(map(float, samples)))


def training(progress: Progress) -> tuple[Array]:
    return (load()[0],)


def error(module: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return mse_loss(module(pixels), pixels)


def task() -> Task:
    return Task(
        "anomaly", model, example, {"pixels": {0: "batch"}}, ("redrawn",), calibration, auc,
        Loop((Stage(error, training, epochs=60, batch=32),)), "anomaly detection: autoencoder on 8x8 handwritten digits", digits.LICENCE,
    )  # fmt: skip

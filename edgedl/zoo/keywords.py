"""Keyword spotting: a depthwise separable CNN names the spoken digit in one second of sound.

Data: Free Spoken Digit Dataset, CC BY-SA 4.0 (see _speech_data), one word in the middle of a second of silence; log-mel
front end (see _logmel). Official split: 0.98 to 1.00 by seed; its speakers are in both parts.
Each speaker in turn left out of the training: 0.72.
Architecture: Y. Zhang et al., Hello Edge, 2017, https://arxiv.org/abs/1711.07128, the DS-CNN of MLPerf Tiny.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from edgedl.spec import Array
from edgedl.task import Predict, Processing, Progress, Score, Task
from edgedl.zoo import _speech_data as data
from edgedl.zoo._logmel import RATE, log_mel
from edgedl.zoo._separable import convolution, separable
from edgedl.zoo._speech_data import Recording
from edgedl.zoo._split import Split, as_batches, hits
from edgedl.zoo._supervised import classifier


class KeywordsDSCNN(nn.Module):
    """[batch, 1, 61 frames, 32 bands] float32 -> [batch, 10] logits."""

    def __init__(self, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.stem = convolution(1, width, (9, 5), (2, 2))
        self.body = nn.Sequential(*(separable(width, width, 1 if index else 2) for index in range(depth)))
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(width, 10)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        features = self.body(self.stem(spectrum)).mean((2, 3))
        logits: torch.Tensor = self.head(self.drop(features))
        return logits


def second(signal: Array) -> Array:
    """The signal in the middle of one second: silence around it, or its ends cut off."""
    over = len(signal) - RATE
    signal = signal[max(0, over // 2) :][:RATE]
    missing = RATE - len(signal)
    return np.pad(signal, (missing // 2, missing - missing // 2))


def spectra(recordings: Sequence[Recording]) -> Split:
    inputs = np.stack([log_mel(second(r.signal))[None] for r in recordings])
    return Split(inputs, np.array([r.digit for r in recordings], np.int64))


@functools.cache
def load() -> tuple[Split, Split]:
    """(training, test); inputs: [n, 1, 61, 32] float32."""
    training, test = data.load()
    return spectra(training), spectra(test)


def example() -> dict[str, Array]:
    return {"spectrum": load()[0].inputs[:1]}


def calibration() -> list[dict[str, Array]]:
    """256 training words in batches of 16."""
    rows = np.random.default_rng(0).permutation(load()[0].inputs)
    return as_batches("spectrum", rows[:256])


def accuracy(predict: Predict) -> Score:
    """Share of the test words whose highest logit is the right digit."""
    return hits(predict, "spectrum", load()[1])


def training(progress: Progress) -> tuple[Array, Array]:
    data.SPOKEN.folder(progress)
    part = load()[0]
    return part.inputs, part.labels


def waveforms() -> list[Array]:
    """One second each, of the first of the test recordings."""
    return [second(r.signal) for r in data.load()[1][:16]]


def task() -> Task:
    return Task(
        "keywords", KeywordsDSCNN, example, {"spectrum": {0: "batch"}}, ("logits",), calibration, accuracy,
        classifier(training, epochs=10), "keyword spotting: DS-CNN on spoken digits", data.LICENCE,
        processing=Processing(
            waveforms, lambda signal: {"spectrum": log_mel(signal)[None, None]}, lambda outputs: int(outputs["logits"].argmax()),
        ),
    )  # fmt: skip

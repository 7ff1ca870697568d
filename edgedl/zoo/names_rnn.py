"""An Elman RNN that reads a surname character by character and names its language.

Data: 20,050 surnames in 18 languages, practical-pytorch, MIT (see _names_data). 0.805 on unseen names; the largest class is 0.52.
"""

from __future__ import annotations

import torch
from torch import nn

from edgedl.spec import Array, Axis
from edgedl.task import Progress, Task
from edgedl.zoo import _names_data as data
from edgedl.zoo._supervised import classifier


class NamesRNN(nn.Module):
    """[batch, length] int64 characters, 0 after the end -> [batch, 18] logits."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(data.CHARACTERS), 32)
        self.recurrent = nn.RNN(32, width, batch_first=True)
        self.head = nn.Linear(width, len(data.LANGUAGES))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.embedding(characters))
        logits: torch.Tensor = self.head((states * last_of(characters)).sum(1))
        return logits


def last_of(characters: torch.Tensor) -> torch.Tensor:
    """[batch, length, 1]: 1 at the last character of each name and 0 elsewhere.

    Counting, and neither slices nor positions: a file then takes any length in both formats.
    """
    filled = (characters > 0).float()
    last = (filled.cumsum(1) == filled.sum(1, keepdim=True)).float() * filled
    return last.unsqueeze(-1)


def training(progress: Progress) -> tuple[Array, Array]:
    data.NAMES.folder(progress)
    part = data.load()[0]
    return part.inputs, part.labels


def task() -> Task:
    return Task(
        "names_rnn", NamesRNN, data.example, {"characters": {0: "batch", 1: Axis("length", 2, data.LENGTH)}}, ("logits",),
        data.calibration, data.accuracy, classifier(training, epochs=12, clip=1.0), "Elman RNN: the language of a surname", data.LICENCE,
    )  # fmt: skip

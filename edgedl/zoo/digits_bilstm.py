"""A bidirectional LSTM that reads a handwritten digit row by row, from above and from below.

Data: the UCI digits that scikit-learn bundles, CC BY 4.0 (see _digits_data). 0.96 on unseen images.
"""

from __future__ import annotations

import torch
from torch import nn

from edgedl.task import Task
from edgedl.zoo import _digits_rows as data


class RowsBiLSTM(nn.Module):
    """[batch, 8 rows, 8 pixels] float32 -> [batch, 10] logits, from the mean of the states of both directions."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(8, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(rows)
        logits: torch.Tensor = self.head(states.mean(1))
        return logits


def task() -> Task:
    return Task(
        "digits_bilstm", RowsBiLSTM, data.example, {"rows": {0: "batch"}}, ("logits",), data.calibration, data.accuracy,
        data.fit, "bidirectional LSTM over the rows of 8x8 handwritten digits", data.LICENCE,
    )  # fmt: skip

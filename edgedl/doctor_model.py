"""The model that the doctor runs: sum = a + b, [1] float32 each; `edgedl/models/` holds it as ONNX and TFLite."""

from __future__ import annotations

import numpy as np
import torch

from edgedl.task import Task


class Sum(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


def task() -> Task:
    return Task("sum", Sum, lambda: {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}, outputs=("sum",))

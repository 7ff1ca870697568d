"""Small networks and what the ONNX tests do with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from edgedl import Task
from edgedl.exporter import Program
from edgedl.program import program_of
from edgedl_onnx.export import export


class Residual(nn.Module):
    """Depthwise convolution, batch normalisation, ReLU6 and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.norm(self.stem(image)))
        y = nn.functional.relu6(self.depthwise(x))
        y = self.point(y)
        x = torch.relu(x + y)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


class Function(nn.Module):
    """A forward given as a function of the module and its inputs; `linear` is 4 to 4."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(4, 4)

    def forward(self, *inputs: torch.Tensor) -> object:
        return self.function(self, *inputs)  # type: ignore[operator]


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def program(module: nn.Module, inputs: Mapping[str, np.ndarray], axes: object = None, **options: bool) -> Program:
    torch.manual_seed(0)
    return program_of(Task("net", lambda: module, lambda: inputs, axes or {}), module, **options)  # type: ignore[arg-type]


def written(path: Path, made: Program) -> onnx.ModelProto:
    export(made, path)
    return onnx.load(str(path))


def shapes(values: object) -> dict[str, list[int | str]]:
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in values  # type: ignore[attr-defined]
    }

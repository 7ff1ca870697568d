"""A network with seeded weights, and the inputs that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedl import Axis, Task
from edgedl.spec import Array

SEED = 20
BATCH = "batch"
RANGES = {BATCH: (1, 16), "time": (4, 40)}
"""dynamic axis -> its lengths"""
EXAMPLE = {BATCH: 2, "time": 12}
OTHER_LENGTHS = ({BATCH: 5, "time": 9}, {BATCH: 12, "time": 23}, {BATCH: 3, "time": 31})
"""Lengths that no proof tries."""


@dataclass(frozen=True)
class Input:
    """How one input is drawn.

    shape: a name is an axis that may be dynamic. kind: `normal`, `positive` (0.1 to 3.1), `unit` (0 to 1), `within` (-0.9 to
    0.9), `integers` (0 to `high` - 1), `bool`, `prefix` (ones, then zeros; int64) or `lengths` (1 to the length of `time`).
    """

    shape: tuple[int | str, ...]
    kind: str = "normal"
    high: int = 10

    def draw(self, generator: np.random.Generator, lengths: Mapping[str, int], scale: float = 1.0) -> Array:
        shape = tuple(lengths[n] if isinstance(n, str) else n for n in self.shape)
        match self.kind:
            case "normal":
                return (scale * generator.standard_normal(shape)).astype(np.float32)
            case "positive":
                return (scale * generator.uniform(0.1, 3.1, shape)).astype(np.float32)
            case "unit":
                return generator.uniform(0, 1, shape).astype(np.float32)
            case "within":
                return generator.uniform(-0.9, 0.9, shape).astype(np.float32)
            case "integers":
                return generator.integers(0, self.high, shape)
            case "bool":
                return np.asarray(generator.random(shape) < 0.6)
            case "prefix":
                kept = generator.integers(1, shape[-1] + 1, (*shape[:-1], 1))
                return (np.arange(shape[-1]) < kept).astype(np.int64)
            case "lengths":
                return generator.integers(1, lengths["time"] + 1, shape)
        raise ValueError(self.kind)


@dataclass(frozen=True)
class Case:
    """inputs: by name, in the order of `forward`. axes: the variants, each a tuple of the axes that are dynamic in it.

    example: lengths of the named axes, where they are not EXAMPLE's. trials: how many draws are checked.
    """

    group: str
    name: str
    make: Callable[[], nn.Module]
    inputs: Mapping[str, Input]
    axes: tuple[tuple[str, ...], ...] = ((), (BATCH,))
    example: Mapping[str, int] = field(default_factory=dict)
    trials: int = 4

    def module(self, seed: int = SEED) -> nn.Module:
        """A fresh module; the same weights at each call."""
        torch.manual_seed(seed)
        module = self.make()
        for part in module.modules():
            _vary(part)
        return module.eval()

    def draw(self, seed: int, lengths: Mapping[str, int], scale: float = 1.0) -> dict[str, Array]:
        generator = np.random.default_rng(seed)
        known = {**EXAMPLE, **self.example, **lengths}
        return {name: source.draw(generator, known, scale) for name, source in self.inputs.items()}

    def task(self, dynamic: tuple[str, ...]) -> Task:
        axes = {
            name: {number: Axis(n, *RANGES[n]) for number, n in enumerate(source.shape) if n in dynamic}
            for name, source in self.inputs.items()
        }
        return Task(
            self.name, self.module, lambda: self.draw(0, {}),
            {name: by_axis for name, by_axis in axes.items() if by_axis}, synthetic=True,
        )  # fmt: skip


class Layer(nn.Module):
    """A layer within a module, which is how users have it: a refusal can name the line of its call."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.layer(*inputs)


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def _vary(part: nn.Module) -> None:
    """Leave no tensor of weights constant, as training leaves none: a lost normalisation, bias or scale then shows."""
    buffers = [value for name, value in part.named_buffers(recurse=False) if name in ("running_mean", "running_var")]
    for tensor in (parameter.data for parameter in (*part.parameters(recurse=False), *buffers)):
        if tensor.is_floating_point() and tensor.numel() and (tensor == tensor.flatten()[0]).all():
            _draw_around(tensor, float(tensor.flatten()[0]))


def _draw_around(tensor: torch.Tensor, value: float) -> None:
    if value:
        nn.init.uniform_(tensor, 0.5, 1.5).mul_(value if abs(value) > 0.01 else 0.1)
    else:
        nn.init.uniform_(tensor, -0.2, 0.2)

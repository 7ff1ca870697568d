"""Three tiny networks that between them use what small models use."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from edgedl import Axis, Task
from edgedl.spec import Array


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 64), nn.Tanh(), nn.Linear(64, 5))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layers(x)
        return {"logits": logits}


class Cnn(nn.Module):
    """Depthwise convolution, residual sum, ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False), nn.BatchNorm2d(32), nn.ReLU6()
        )
        self.point = nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32))
        self.wide = nn.Sequential(nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU6())
        self.head = nn.Linear(64, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        x = x + self.point(self.depthwise(x))
        logits: torch.Tensor = self.head(self.wide(x).mean((2, 3)))
        return logits


class Transformer(nn.Module):
    """Token and position embedding, one encoder layer, a mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 32), nn.Parameter(torch.randn(1, 12, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.encoder(self.tokens(tokens) + self.positions)
        logits: torch.Tensor = self.head(x.mean(1))
        return logits


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def images(*shape: int) -> Array:
    """Noise of a colour and contrast of its own in each image: of images that are alike, a network tells too little to be held to it."""
    generator = np.random.default_rng(0)
    colours = 2 * generator.standard_normal((*shape[:2], 1, 1))
    contrasts = generator.uniform(0.1, 2, (shape[0], 1, 1, 1))
    return (colours + contrasts * generator.standard_normal(shape)).astype(np.float32)


def tokens(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 50, shape)


NETWORKS: dict[str, tuple[type[nn.Module], str, Callable[[], Array]]] = {
    "mlp": (Mlp, "x", functools.partial(floats, 64, 16)),
    "cnn": (Cnn, "image", functools.partial(images, 32, 3, 16, 16)),
    "transformer": (Transformer, "tokens", functools.partial(tokens, 64, 12)),
}


def task(name: str, dynamic: bool) -> Task:
    """A seeded network with calibration inputs, and a batch of 1 or a dynamic one of 1 to 8."""
    network, input_name, data = NETWORKS[name]

    def model() -> nn.Module:
        torch.manual_seed(0)
        return network()

    return Task(
        f"{name}-{'dynamic' if dynamic else 'static'}", model, lambda: {input_name: data()[:1]},
        {input_name: {0: Axis("batch", 1, 8)}} if dynamic else {}, ("logits",),
        lambda: [{input_name: rows} for rows in np.array_split(data(), 8)],
    )  # fmt: skip

"""Small models, exported once for all tests that read them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedl.artifact import Artifact
from edgedl.exporter import Program
from edgedl.runtime import Session
from edgedl.schemes import SCHEMES
from edgedl.spec import Axis
from edgedl_litert import runtime
from edgedl_tflite import exporter

BATCH = {"x": {0: Axis("batch")}}
_FOLDER = tempfile.TemporaryDirectory()


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))

    def forward(self, x):
        return (self.layers(x),)


class CNN(nn.Module):
    """A strided convolution, a depthwise block with a residual connection, ReLU6 throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(), nn.Conv2d(16, 16, 1))
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x):
        x = self.stem(x)
        return (self.head((x + self.depthwise(x)).flatten(1)),)


class Encoder(nn.Module):
    """Token ids -> (class scores, hidden states)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        hidden = self.encoder(self.embedding(x))
        return self.head(hidden.mean(1)), hidden


KINDS = {"mlp": (MLP, ("y",)), "cnn": (CNN, ("y",)), "encoder": (Encoder, ("scores", "hidden"))}


def sample(kind: str, rows: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if kind == "encoder":
        return generator.integers(0, 50, (rows, 6))
    shape = {"mlp": (16,), "cnn": (3, 8, 8)}[kind]
    return generator.standard_normal((rows, *shape)).astype(np.float32)


@functools.cache
def module(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return KINDS[kind][0]().eval()


def program(kind: str, **options: Any) -> Program:
    return Program(kind, module(kind), {"x": sample(kind, 2)}, KINDS[kind][1], **options)


def exported(kind: str, dynamic: bool = False, channels_last: bool = False) -> Path:
    return _exported(kind, dynamic, channels_last)


@functools.cache
def _exported(kind: str, dynamic: bool, channels_last: bool) -> Path:
    path = Path(_FOLDER.name) / f"{kind}-{dynamic}-{channels_last}.tflite"
    exporter.export(program(kind, dynamic_axes=BATCH if dynamic else {}, channels_last=channels_last), path)
    return path


def quantized(kind: str, scheme: str, dynamic: bool = False) -> Path:
    return _quantized(kind, scheme, dynamic)


@functools.cache
def _quantized(kind: str, scheme: str, dynamic: bool) -> Path:
    path = Path(_FOLDER.name) / f"{kind}-{scheme}-{dynamic}.tflite"
    exporter.quantize(exported(kind, dynamic), SCHEMES[scheme], lambda: [{"x": sample(kind, 65, seed=1)}], path)
    return path


def load(path: Path) -> Session:
    return runtime.load(Artifact(path), "cpu", 1)


def reference(model: nn.Module, *arrays: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [tensor.numpy() for tensor in model(*map(torch.from_numpy, arrays))]


def worst(outputs: Mapping[str, np.ndarray], expected: list[np.ndarray]) -> float:
    """Largest absolute difference over all outputs; infinite if a shape differs."""
    pairs = list(zip(outputs.values(), expected, strict=True))
    return max(float(np.abs(a - b).max()) if a.shape == b.shape else np.inf for a, b in pairs)


def relative_l2(output: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(output - expected) / np.linalg.norm(expected))

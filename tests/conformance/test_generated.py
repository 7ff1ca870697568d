"""Networks that hypothesis makes up, exported both ways: the gate holds each against torch, at three batch sizes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import edgedl
from edgedl import Axis, Task, registry

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Tanh, nn.LeakyReLU, nn.Identity)
Plan = Sequence[tuple[str, int, type[nn.Module]]]


class Block(nn.Module):
    """One step of a plan, [batch, channels, height, width] -> the same rank."""

    def __init__(self, kind: str, channels: int, wanted: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.kind = kind
        self.channels = (
            channels if kind in ("residual", "depthwise", "pool") else wanted + channels * (kind == "concat")
        )
        groups = channels if kind == "depthwise" else 1
        target = channels if kind in ("residual", "depthwise", "pool") else wanted
        self.convolution = nn.Conv2d(
            channels, target, 3, stride=2 if kind == "strided" else 1, padding=1, groups=groups
        )
        self.norm, self.activation = nn.BatchNorm2d(target), activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "pool":
            return nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
        y = self.activation(self.norm(self.convolution(x)))
        if self.kind == "residual":
            return x + y
        return torch.cat([x, y], dim=1) if self.kind == "concat" else y


def network(plan: Plan) -> nn.Module:
    torch.manual_seed(0)
    blocks, channels = [], 3
    for kind, wanted, activation in plan:
        blocks.append(Block(kind, channels, wanted, activation))
        channels = blocks[-1].channels
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


KINDS = ("plain", "strided", "depthwise", "residual", "concat", "pool")
PLANS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(1, 9), st.sampled_from(ACTIVATIONS)), min_size=1, max_size=5
)


def check(plan: Plan) -> None:
    image = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)
    original = Task("made", lambda: network(plan), lambda: {"x": image}, {"x": {0: Axis("batch", 1, 4)}})
    with tempfile.TemporaryDirectory() as folder:
        artifacts = edgedl.export(original, sorted(registry.usable_exporters()), folder)
    for artifact in artifacts:
        assert artifact.manifest
        assert [p["case"] for p in artifact.manifest.evidence["parity"]] == ["batch=1", "batch=2", "batch=4"]
        assert max(p["relative_rms"] for p in artifact.manifest.evidence["parity"]) < 1e-4


UNHURRIED = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@settings(UNHURRIED, max_examples=4)
@given(PLANS)
def test_made_up_networks(plan: Plan) -> None:
    check(plan)


@pytest.mark.slow
@settings(UNHURRIED, max_examples=40)
@given(PLANS)
def test_many_made_up_networks(plan: Plan) -> None:
    check(plan)

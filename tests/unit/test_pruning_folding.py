"""Layers that compute their weights in each run get plain ones, which compute the same and can be cut."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from edgedl.errors import InvalidInput
from edgedl.program import program_of
from edgedl.pruning import saved
from edgedl.pruning.folding import computing, folded
from edgedl.pruning.graph import graph_of
from edgedl.pruning.groups import plan_of
from edgedl.pruning.plan import Plan, fingerprint
from edgedl.task import Task

pytest.importorskip("torch_pruning")


class Standardized(nn.Conv2d):
    """As NFNets have it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, deviation = self.weight.mean((1, 2, 3), True), self.weight.std((1, 2, 3), keepdim=True)
        return functional.conv2d(x, (self.weight - mean) / deviation, self.bias, self.stride, self.padding)


class Padding(Standardized):
    """Its padding depends on the size of what comes in, which no plain layer has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(x, (0, x.shape[-1] % 2, 0, 0)))


class Passing(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Net(nn.Module):
    def __init__(self, made: Callable[..., nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = made(3, 8, 3, padding=1), made(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))
        return y


def normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[..., nn.Module]:
    def made(*sizes: int, padding: int) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older norms are deprecated
            return norm(nn.Conv2d(*sizes, padding=padding))

    return made


KINDS: dict[str, Callable[..., nn.Module]] = {
    "standardized": Standardized,
    "weight_norm": normed(parametrizations.weight_norm),
    "spectral_norm": normed(parametrizations.spectral_norm),
    "older weight_norm": normed(weight_norm),
    "older spectral_norm": normed(spectral_norm),
}
X = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)


def outputs(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        y: torch.Tensor = module.eval()(torch.from_numpy(X))
    return y


@pytest.mark.parametrize("kind", KINDS)
def test_plain_weights_compute_the_same(kind: str) -> None:
    module = Net(KINDS[kind]).eval()
    before, names = outputs(module), computing(module)
    assert names == ("first", "second")
    plain = folded(module, names)
    torch.testing.assert_close(outputs(plain), before)
    torch.testing.assert_close(outputs(module), before)
    assert computing(module) == names, "the module itself keeps its own"
    assert (type(plain.first), computing(plain)) == (nn.Conv2d, ())
    assert {name for name, _ in plain.first.named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_they_lose_channels_and_the_plan_is_replayed(tmp_path: Path, kind: str) -> None:
    task = Task("net", lambda: Net(KINDS[kind]), lambda: {"x": X})
    module = task.model().eval()
    names = computing(module)
    plain = folded(module, names)
    found = graph_of(program_of(task, plain))
    assert {group.name for group in found.groups} == {"first", "second"}
    cuts = plan_of(plain, found.groups, {"first": np.arange(4)}).cuts
    plan = Plan(fingerprint(module), cuts=cuts, plain=names)
    saved.save(plan, plan.apply(module), tmp_path)
    again = saved.load_into(task.model(), tmp_path)
    assert again.get_parameter("second.weight").shape == (8, 4, 3, 3)
    torch.testing.assert_close(outputs(again), outputs(plan.apply(module)))


@pytest.mark.parametrize("kind", [Padding, Passing])
def test_what_no_plain_layer_does_stays(kind: Callable[..., nn.Module]) -> None:
    assert computing(Net(kind)) == ()


def test_a_layer_that_cannot_be_followed_is_named_with_its_class() -> None:
    task = Task("net", lambda: Net(Padding), lambda: {"x": X})
    found = graph_of(program_of(task, task.model()))
    assert [group.name for group in found.groups] == ["second"]
    assert found.locked["first"].endswith("first is a Padding with a forward of its own")


@pytest.mark.parametrize("name", ["head", "nowhere"])
def test_a_plan_with_another_models_plain_layers(name: str) -> None:
    module = Net(Standardized)
    with pytest.raises(InvalidInput, match=f"the plan gives '{name}' plain weights, and the model has no such layer"):
        Plan(fingerprint(module), plain=(name,)).apply(module)

"""The proof of a group: a network without some channels computes what the whole one does when it is deaf to them.

Normalisations across channels see other statistics when channels go, which is no mistake of the group: in a trial they only
scale and shift. All weights are seeded noise, so that no small or zero weight hides a channel that went wrong.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from edgedl.exporter import Program
from edgedl.module_copy import shared_copy
from edgedl.program import named_tensors
from edgedl.pruning import layers
from edgedl.pruning.plan import Plan

TOLERANCE = 1e-3
"""Largest relative RMS error: float32 rounding of a deep network; a wrong channel is of the order of 1."""

NOT_FOLLOWED = "its channels are used in a way that could not be followed"


class Trial:
    """A noisy copy of a program's own module, on which removals are tried and undone."""

    def __init__(self, program: Program) -> None:
        self.module = _scaling(_noisy(program.module.get_submodule("module")))
        self.inputs = tuple(torch.from_numpy(array) for array in program.inputs.values())

    def objection(self, plan: Plan) -> str:
        """Why the removal cannot be believed, or ""."""
        try:
            pruned = self._outputs(plan.carried_out)
        except Exception as error:
            return f"the code does not run with fewer channels ({first_line(error)})"
        whole = self._outputs(lambda module: _deaf(module, plan))
        if [tuple(out.shape) for out in pruned] != [tuple(out.shape) for out in whole]:
            return "its channels are those of an output"
        if any(_apart(got, want) > TOLERANCE for got, want in zip(pruned, whole, strict=True)):
            return NOT_FOLLOWED
        return ""

    def _outputs(self, changed: Callable[[nn.Module], nn.Module]) -> list[torch.Tensor]:
        with undone(self.module), torch.enable_grad():  # without gradients torch's encoder goes past its own norms
            returned = changed(self.module)(*(tensor.clone() for tensor in self.inputs))
        return [tensor.detach().double() for _, tensor in named_tensors(returned)]


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def undone(root: nn.Module) -> Iterator[None]:
    """Whatever layers and attributes are set within is set back; tensors must not be written to."""
    before = [(part, {key: _shallow(value) for key, value in vars(part).items()}) for part in root.modules()]
    try:
        yield
    finally:
        for part, state in before:
            vars(part).clear()
            vars(part).update(state)


def _shallow(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, dict | list) else value


def _noisy(module: nn.Module) -> nn.Module:
    """A copy whose weights are seeded noise, of a size that keeps activations near 1; biases and scales are in 0.5..1.5."""
    copied, generator = shared_copy(module).eval(), torch.Generator().manual_seed(0)
    fresh = {old: _noise(old, generator) for old in copied.parameters() if old.is_floating_point()}
    for part in copied.modules():
        for name, old in list(part._parameters.items()):
            if old in fresh:
                setattr(part, name, fresh[old])
    return copied


def _noise(old: torch.Tensor, generator: torch.Generator) -> nn.Parameter:
    if old.dim() < 2:
        return nn.Parameter(torch.rand(old.shape, generator=generator) + 0.5)
    fan = max(1, old.numel() // old.shape[0])
    return nn.Parameter(torch.randn(old.shape, generator=generator) / fan**0.5)


def _deaf(module: nn.Module, plan: Plan) -> nn.Module:
    for cut in plan.cuts:
        layer = module.get_submodule(cut.module)
        gone = sorted(set(range(layers.extent(layer, cut.side))) - set(cut.kept))
        layers.silence(layer, cut.side, torch.tensor(gone))
    return module


def _scaling(module: nn.Module) -> nn.Module:
    """The module with normalisations across channels that only scale and shift."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm | nn.GroupNorm):
            part.__dict__["forward"] = _Affine(part)
    return module


class _Affine:
    def __init__(self, norm: Any) -> None:
        self.norm = norm

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        scale, shift = (self._shaped(x, part) for part in (self.norm.weight, self.norm.bias))
        return x * (1 if scale is None else scale) + (0 if shift is None else shift)

    def _shaped(self, x: torch.Tensor, values: torch.Tensor | None) -> torch.Tensor | None:
        """Channels come last for a LayerNorm, and first for a GroupNorm or a LayerNorm2d, as timm calls it."""
        last = isinstance(self.norm, nn.LayerNorm) and "2d" not in type(self.norm).__name__
        return values if values is None or last else values.reshape(-1, *[1] * (x.dim() - 2))


def _apart(got: torch.Tensor, want: torch.Tensor) -> float:
    if not bool(torch.isfinite(want).all()):
        return float("inf")
    scale = float(want.square().mean().sqrt()) or 1.0
    return float((got - want).square().mean().sqrt()) / scale

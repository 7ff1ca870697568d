"""How much each unit of a group matters: by its weights, by what reaches it, or by what the outputs would lose.

magnitude    squared weights (H. Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017)
taylor       squared change of the outputs to first order, (sum of w dy/dw)^2, over real inputs and random directions of
             the output (after P. Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019)
bn           scales of the batch norms (Z. Liu et al., Network Slimming, ICCV 2017)
activation   squared weights that read a channel, times its mean square on real inputs (after M. Sun et al., A Simple
             and Effective Pruning Approach for Large Language Models, ICLR 2024)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedl.errors import InvalidInput
from edgedl.exporter import Program
from edgedl.module_copy import full_copy
from edgedl.program import named_tensors
from edgedl.pruning import layers
from edgedl.pruning.groups import Group, Member
from edgedl.spec import Array, Feeds

KINDS = ("magnitude", "taylor", "bn", "activation")
NEEDS_DATA = ("taylor", "activation")
DIRECTIONS = 8
"""Random directions of the outputs for each batch."""

Scores = dict[str, Array]
"""group name -> one value for each of its units, their mean is 1; a group that is missing cannot be scored"""


def scores(kind: str, program: Program, groups: Sequence[Group], data: Sequence[Feeds]) -> Scores:
    """The importance of all units. data: batches of real inputs, for those of NEEDS_DATA.

    InvalidInput for an unknown kind, without data where it is needed, and for `bn` in a network without batch norm.
    """
    module = full_copy(program.module.get_submodule("module")).requires_grad_(True)
    if kind in NEEDS_DATA and not data:
        raise InvalidInput(
            f"--importance {kind} needs real inputs: {program.name} has no calibration(); take magnitude"
        )
    found = _KINDS[kind](module, program, groups, data)
    if not found:
        raise InvalidInput(
            f"--importance {kind}: {program.name} has no batch norm; take magnitude, taylor or activation"
        )
    return {name: values / (values.mean() or 1.0) for name, values in found.items()}


def _magnitude(module: nn.Module, program: Program, groups: Sequence[Group], data: Sequence[Feeds]) -> Scores:
    def squares(weight: torch.Tensor) -> torch.Tensor:
        return weight.detach().square()

    return {group.name: _mean(group, lambda m: layers.per_channel(module.get_submodule(m.module), m.side, squares)) for group in groups}  # fmt: skip


def _bn(module: nn.Module, program: Program, groups: Sequence[Group], data: Sequence[Feeds]) -> Scores:
    found = {}
    for group in groups:
        norms = [m for m in group.members if isinstance(module.get_submodule(m.module), layers.FEATURES)]
        scales = [m for m in norms if module.get_submodule(m.module).weight is not None]
        if scales:
            found[group.name] = _mean(group, lambda m: module.get_submodule(m.module).weight.detach().abs(), scales)  # type: ignore[operator]
    return found


def _taylor(module: nn.Module, program: Program, groups: Sequence[Group], data: Sequence[Feeds]) -> Scores:
    """Each member's weights give one estimate of what the outputs lose with a unit; their mean counts."""
    total = {group.name: np.zeros(group.size) for group in groups}
    generator = torch.Generator().manual_seed(0)

    def gained(weight: torch.Tensor) -> torch.Tensor:
        return weight.detach() * (weight.grad if weight.grad is not None else 0.0)

    for feeds in data:
        outputs = _outputs(module, program, feeds)
        for _ in range(DIRECTIONS):
            _backward(module, outputs, generator)
            for group in groups:
                change = _mean(
                    group, lambda m: layers.per_channel(module.get_submodule(m.module), m.side, gained).square()
                )
                total[group.name] += change
    return total


def _backward(module: nn.Module, outputs: list[torch.Tensor], generator: torch.Generator) -> None:
    module.zero_grad(set_to_none=True)
    directions = [torch.randn(out.shape, generator=generator) for out in outputs]
    torch.autograd.backward(outputs, directions, retain_graph=True)


def _outputs(module: nn.Module, program: Program, feeds: Feeds) -> list[torch.Tensor]:
    with torch.enable_grad():
        returned = module.eval()(*(torch.from_numpy(np.array(feeds[name])) for name in program.inputs))
    return [out for _, out in named_tensors(returned) if out.requires_grad]


def _activation(module: nn.Module, program: Program, groups: Sequence[Group], data: Sequence[Feeds]) -> Scores:
    power = _mean_squares(module, program, data)

    def read(member: Member) -> torch.Tensor:
        layer = module.get_submodule(member.module)
        weights = layers.per_channel(layer, member.side, lambda weight: weight.detach().square())
        return weights * power.get(member.module, torch.ones(1))

    def readers(group: Group) -> list[Member]:
        return [m for m in group.members if m.side == "in" and m.module in power] or list(group.members)

    return {group.name: _mean(group, read, readers(group)) for group in groups}


def _mean_squares(module: nn.Module, program: Program, data: Sequence[Feeds]) -> dict[str, torch.Tensor]:
    """Of the inputs of linear layers and convolutions, by layer: [channels]."""
    power: dict[str, torch.Tensor] = {}

    def hook(name: str, axis: int) -> Callable[[Any, Any], None]:
        def note(_: nn.Module, arguments: Any) -> None:
            x = arguments[0].detach().movedim(axis, 0).flatten(1).square().mean(1)
            power[name] = power.get(name, torch.zeros_like(x)) + x

        return note

    hooks = [
        part.register_forward_pre_hook(hook(name, -1 if isinstance(part, nn.Linear) else 1))
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | layers.CONVOLUTIONS)
    ]
    try:
        for feeds in data:
            _outputs(module, program, feeds)
    finally:
        for handle in hooks:
            handle.remove()
    return power


_KINDS = {"magnitude": _magnitude, "taylor": _taylor, "bn": _bn, "activation": _activation}


def _mean(group: Group, value: Callable[[Member], torch.Tensor], members: Sequence[Member] | None = None) -> Array:
    """The mean over the members of what each says of the units, each put to a mean of 1 first."""
    total = np.zeros(group.size)
    counted = np.zeros(group.size)
    for member in members or group.members:
        per_channel = value(member).double().numpy()
        of_units = np.bincount(member.units, per_channel[member.channels], group.size)
        there = np.bincount(member.units, minlength=group.size) > 0
        if of_units.any():
            total += of_units / of_units[there].mean()
            counted += there
    return np.divide(total, counted, out=np.zeros(group.size), where=counted > 0)

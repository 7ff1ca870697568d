"""How much each layer matters: the error of the outputs when a share of its units goes, all others staying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgedl.exporter import Program
from edgedl.program import named_tensors
from edgedl.pruning.groups import Group, plan_of
from edgedl.pruning.importance import Scores
from edgedl.pruning.selection import Ranking
from edgedl.pruning.trial import undone
from edgedl.spec import Feeds

SHARES = (0.25, 0.5, 0.75)
NOT_FINITE = 1e9
"""Stands for an error that is no number: JSON has none such."""


@dataclass(frozen=True)
class Sensitivity:
    """errors: relative RMS error of the outputs (worst output) by the share of SHARES of the units that went."""

    layer: str
    units: int
    errors: tuple[float, ...]

    @property
    def at_half(self) -> float:
        return self.errors[SHARES.index(0.5)]


def sensitivities(program: Program, groups: Sequence[Group], scores: Scores, data: Sequence[Feeds]) -> tuple[Sensitivity, ...]:  # fmt: skip
    """One for each group, in the order of the groups, over the batches of `data`."""
    module = program.module.get_submodule("module")
    whole = _outputs(module, program, data)
    return tuple(_of(group, module, program, scores, data, whole) for group in groups)


def _of(
    group: Group, module: nn.Module, program: Program, scores: Scores, data: Sequence[Feeds], whole: list[torch.Tensor]
) -> Sensitivity:
    ranking = Ranking([group], scores, {group.name: 1.0}, "layer")
    errors = []
    for share in SHARES:
        plan = plan_of(module, [group], ranking.removal(share))
        with undone(module):
            errors.append(_error(_outputs(plan.carried_out(module), program, data), whole))
    return Sensitivity(group.name, group.size, tuple(errors))


def _outputs(module: nn.Module, program: Program, data: Sequence[Feeds]) -> list[torch.Tensor]:
    """The outputs over all batches, one vector for each output."""
    with torch.no_grad():
        runs = [
            [
                t.double().ravel()
                for _, t in named_tensors(module(*(torch.from_numpy(np.array(f[n])) for n in program.inputs)))
            ]
            for f in data
        ]
    return [torch.cat(parts) for parts in zip(*runs, strict=True)]


def _error(got: list[torch.Tensor], want: list[torch.Tensor]) -> float:
    """The worst relative RMS error over the outputs; NOT_FINITE where an output is not finite or has another length."""
    if any(g.shape != w.shape for g, w in zip(got, want, strict=True)):
        return NOT_FINITE
    errors = [float((g - w).square().mean().sqrt() / (w.square().mean().sqrt() + 1e-12)) for g, w in zip(got, want, strict=True)]  # fmt: skip
    return max(errors) if np.isfinite(errors).all() else NOT_FINITE

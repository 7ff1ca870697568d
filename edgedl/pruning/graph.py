"""The groups of a network: attention heads by guess, everything else by the dependency graph, each tried before it is believed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from edgedl.errors import InvalidInput
from edgedl.exporter import Program
from edgedl.pruning import heads, layers
from edgedl.pruning.dependency import dependent
from edgedl.pruning.folding import own_forward
from edgedl.pruning.groups import Counted, Group, Member, plan_of
from edgedl.pruning.trial import NOT_FOLLOWED, Trial
from edgedl.spec import Array


@dataclass(frozen=True)
class Graph:
    """groups: what can be pruned. locked: layer -> why its channels stay."""

    groups: tuple[Group, ...]
    locked: dict[str, str]


def graph_of(program: Program) -> Graph:
    """The groups of a program's own module, each proven by a trial; InvalidInput if it cannot be traced or has none."""
    module = program.module.get_submodule("module")
    own = [_of_heads(guess) for guess in heads.found(module)]
    trial = Trial(program)
    accepted, _ = _tried(trial, own)
    taken = set().union(*(group.sides() for group in accepted))
    rest = [group for group in dependent(program) if not group.sides() & taken]
    more, refused = _tried(trial, rest)
    groups = (*accepted, *more)
    if not groups:
        why = (
            "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            or "it has no layers with channels inside"
        )
        raise InvalidInput(f"nothing in {program.name} can be pruned: {why}")
    return Graph(groups, {name: why for name, why in refused.items() if name not in {g.name for g in groups}})


def _of_heads(guess: heads.Guess) -> Group:
    members, counted = (Member(*member) for member in guess.members), (Counted(*told) for told in guess.counted)
    return Group(guess.name, guess.heads, tuple(members), counted=tuple(counted))


def _tried(trial: Trial, groups: Iterable[Group]) -> tuple[list[Group], dict[str, str]]:
    """Those whose removal agrees with the unpruned network made deaf to the same channels, and why the others do not."""
    good: list[Group] = []
    bad: dict[str, str] = {}
    for group in (_without_broadcast(trial.module, group) for group in groups):
        if group.name in {other.name for other in good}:
            continue
        if _beyond(trial.module, group):
            bad[group.name] = NOT_FOLLOWED
        elif why := trial.objection(plan_of(trial.module, [group], {group.name: _half(group)})):
            bad[group.name] = f"{why}{_of_its_own(trial.module, group)}"
        else:
            good.append(group)
    return good, bad


def _without_broadcast(module: nn.Module, group: Group) -> Group:
    """The group without sides of one channel, which stands for all of the others' and stays."""
    wide = tuple(m for m in group.members if layers.extent(module.get_submodule(m.module), m.side) > 1)
    return replace(group, members=wide)


def _beyond(module: nn.Module, group: Group) -> bool:
    """Whether a side is told to have channels that it has not."""
    sides = ((layers.extent(module.get_submodule(m.module), m.side), m.channels) for m in group.members)
    return any(channels.max(initial=0) >= count for count, channels in sides)


def _of_its_own(module: nn.Module, group: Group) -> str:
    """Which layer of the group computes something of its own, the likely reason."""
    layers = ((name, module.get_submodule(name)) for name in dict.fromkeys(m.module for m in group.members))
    found = next(((name, type(layer).__name__) for name, layer in layers if own_forward(layer)), None)
    return f"; {found[0]} is a {found[1]} with a forward of its own" if found else ""


def _half(group: Group) -> Array:
    """A seeded half of every block, others in each: what only holds for some channels is found out."""
    units = np.arange(group.size).reshape(group.blocks, -1)
    mixed = np.random.default_rng(0).permuted(units, axis=1)
    return np.sort(mixed[:, : group.units_per_block // 2].ravel())

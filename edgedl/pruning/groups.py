"""Channels that go together, as data: groups of sides of layers, and what removing some of a group is for a module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import nn

from edgedl.pruning.plan import Plan, made
from edgedl.spec import Array


@dataclass(frozen=True)
class Member:
    """One side of one layer: its channel `channels[i]` goes when the unit `units[i]` of the group goes."""

    module: str
    side: str
    channels: Array
    units: Array


@dataclass(frozen=True)
class Counted:
    """A whole number that a module keeps for itself: `each` for every unit that the group keeps."""

    module: str
    name: str
    each: int


@dataclass(frozen=True)
class Group:
    """Channels that go together. name: the layer that it starts from. size: number of units.

    blocks: the units lie in so many blocks of one length, and each must lose as many as the others.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    blocks: int = 1
    counted: tuple[Counted, ...] = ()

    @property
    def units_per_block(self) -> int:
        return self.size // self.blocks

    def sides(self) -> set[tuple[str, str]]:
        return {(member.module, member.side) for member in self.members}


Removal = dict[str, Array]
"""group name -> the units that go"""


def plan_of(module: nn.Module, groups: Iterable[Group], removal: Removal) -> Plan:
    """The removal as a plan for the module."""
    removed: dict[tuple[str, str], set[int]] = {}
    counts: dict[tuple[str, str], int] = {}
    for group in groups:
        gone = removal.get(group.name, np.array([], int))
        if not len(gone):
            continue
        for member in group.members:
            channels = member.channels[np.isin(member.units, gone)]
            removed.setdefault((member.module, member.side), set()).update(channels.tolist())
        for counted in group.counted:
            counts[counted.module, counted.name] = counted.each * (group.size - len(gone))
    return made(module, removed, counts)

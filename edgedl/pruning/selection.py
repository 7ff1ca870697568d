"""Which units go for a given ratio: ranked within each layer or across all of them, in counts that pay.

Across all layers (`global`), a unit is worth the error that its layer makes when half of it goes, shared out by importance,
for each unit of cost that its going saves; the least worthy go first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.pruning.groups import Group, Removal
from edgedl.pruning.importance import Scores
from edgedl.spec import Array

SCOPES = ("global", "layer")
FEWEST = 0.1
"""Share of its units that every block keeps at least."""


@dataclass(frozen=True)
class Ranking:
    """groups: those that may be pruned. scores: of each unit, mean 1. worth: of a unit of score 1, by group (all 1: the same).

    alignment: channel counts are multiples of it, where a layer has that many.
    """

    groups: Sequence[Group]
    scores: Scores
    worth: Mapping[str, float]
    scope: str = "global"
    alignment: int = 1

    def removal(self, ratio: float) -> Removal:
        """The units that go when `ratio` of all units are to go, before the counts are made to fit."""
        kept = self._kept_of_layers(ratio) if self.scope == "layer" else self._kept_across(ratio)
        return {group.name: self._removed(group, kept[group.name]) for group in self.groups}

    def _kept_of_layers(self, ratio: float) -> dict[str, int]:
        return {group.name: self._fitting(group, (1 - ratio) * group.units_per_block) for group in self.groups}

    def _kept_across(self, ratio: float) -> dict[str, int]:
        worths = {group.name: self._worths(group) for group in self.groups}
        threshold = np.quantile(np.concatenate(list(worths.values())), ratio)
        return {
            group.name: self._fitting(group, float((worths[group.name] >= threshold).sum())) for group in self.groups
        }

    def _worths(self, group: Group) -> Array:
        """[units per block], ascending: what the least important unit of every block is worth together, the second least..."""
        ranked = np.sort(self.scores[group.name].reshape(group.blocks, -1), 1).mean(0)
        worths: Array = ranked * self.worth[group.name]
        return worths

    def _fitting(self, group: Group, kept: float) -> int:
        """The number of units of a block: rounded to what makes the channels a multiple of the alignment, or all."""
        length = group.units_per_block
        if kept >= length:
            return length
        step = 1 if is_heads(group) else self.alignment // int(np.gcd(self.alignment, channel_blocks(group)))
        fewest = max(1, int(np.ceil(FEWEST * length)))
        rounded = max(round(kept / step) * step, -(-fewest // step) * step)
        return length if rounded >= length or length <= step else rounded

    def _removed(self, group: Group, kept: int) -> Array:
        """The units of each block but the `kept` most important."""
        blocks = self.scores[group.name].reshape(group.blocks, -1)
        order = np.argsort(blocks, 1, kind="stable")[:, : group.units_per_block - kept]
        return np.sort((order + np.arange(group.blocks)[:, None] * group.units_per_block).ravel())


def is_heads(group: Group) -> bool:
    """Whether a unit is a whole attention head, which has a width of its own."""
    return bool(group.counted) or any(member.side == "heads" for member in group.members)


def channel_blocks(group: Group) -> int:
    """Blocks that are of one layer, and whose sum is its channel count; those of a recurrent layer each are a hidden size."""
    return 1 if any(member.side.startswith("hidden") for member in group.members) else group.blocks

"""What came of a pruning: before and after, on paper and in the engine, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgedl.measure import Estimate
from edgedl.verify.evidence import ScoreDrop

if TYPE_CHECKING:
    from edgedl.artifact import Artifact
    from edgedl.pruning.search import Target
    from edgedl.pruning.sensitivity import Sensitivity


@dataclass(frozen=True)
class Options:
    """What is asked of a pruning.

    method: `structured`, `unstructured`, or N:M as `2:4`. target: of the structured method. sparsity: share of zeros of the
    unstructured one. importance, scope: see edgedl.pruning.importance and .selection. alignment: channel counts are
    multiples of it; None takes those that pay by the staircase, one after the other. steps: cut and recover so many times.
    rounds: at most so many trainings after the last cut. max_drop: of the score, in its own unit.
    """

    method: str = "structured"
    target: Target | None = None
    sparsity: float | None = None
    importance: str = "magnitude"
    scope: str = "global"
    alignment: int | None = None
    steps: int = 1
    rounds: int = 3
    max_drop: float = 0.005
    teacher: bool = True
    seed: int = 0
    threads: int = 1
    seconds: float = 2.0


@dataclass(frozen=True)
class Figures:
    """macs: multiply-accumulates of one example. size: bytes of the exported file. packed: those of its gzip.

    milliseconds: median wall time of one run. zeros: share of the weights that are zero.
    """

    macs: int
    parameters: int
    size: int
    packed: int
    milliseconds: Estimate
    zeros: float


@dataclass(frozen=True)
class Layer:
    """One group of channels: how many units (channels, heads, hidden units) there were and are."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class LayerRow:
    """A layer and its sensitivity; see edgedl.pruning.sensitivity."""

    name: str
    before: int
    after: int
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Pruned:
    """The proven artifact and how it compares with the original's.

    gain: how many times faster, with its 95 % interval. score: None without `evaluate`. rounds: trainings that were used.
    taught: batches that the original took part in as a teacher. locked: layer -> why it was left whole.
    """

    artifact: Artifact
    method: str
    before: Figures
    after: Figures
    gain: Estimate
    score: ScoreDrop | None
    layers: tuple[Layer, ...]
    sensitivities: tuple[Sensitivity, ...]
    locked: dict[str, str]
    alignment: int
    rounds: int
    taught: int
    notes: tuple[str, ...] = ()

    def rows(self) -> tuple[LayerRow, ...]:
        pairs = zip(self.layers, self.sensitivities, strict=True)
        return tuple(LayerRow(layer.name, layer.before, layer.after, s.errors) for layer, s in pairs)

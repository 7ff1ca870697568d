"""One cut: the groups of a module, their ranking, and the smallest removal that meets a share of the original's cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from edgedl.artifact import Artifact
from edgedl.errors import GateFailed
from edgedl.exporter import Program
from edgedl.measure.summary import is_slower, times
from edgedl.program import program_of
from edgedl.pruning import cost
from edgedl.pruning.bench import Bench
from edgedl.pruning.graph import graph_of
from edgedl.pruning.groups import Group, Removal, plan_of
from edgedl.pruning.importance import scores
from edgedl.pruning.layers import CONVOLUTIONS
from edgedl.pruning.outcome import Layer, Options
from edgedl.pruning.plan import Plan
from edgedl.pruning.search import Target, smallest
from edgedl.pruning.selection import Ranking, is_heads
from edgedl.pruning.sensitivity import Sensitivity, sensitivities
from edgedl.pruning.staircase import Staircase, staircase
from edgedl.spec import Feeds

FINE, COARSE = 20, 7
"""Steps of the search where a try costs milliseconds (a count), and where it costs seconds (an export)."""


@dataclass(frozen=True)
class Cutting:
    """A cut that was found. alignment: channel counts are multiples of it where a layer has that many."""

    plan: Plan
    layers: tuple[Layer, ...]
    sensitivities: tuple[Sensitivity, ...]
    locked: Mapping[str, str]
    alignment: int


def over_all(cuttings: Sequence[Cutting]) -> Cutting:
    """Several cuts told as one: the layers as the first found them and the last left them."""
    left = {layer.name: layer.after for cutting in cuttings for layer in cutting.layers}
    first, last = cuttings[0], cuttings[-1]
    layers = tuple(replace(layer, after=left[layer.name]) for layer in first.layers)
    return replace(first, layers=layers, alignment=last.alignment)


@dataclass(frozen=True)
class Cutter:
    """original: the file that no cut may be slower than. data: batches of real inputs, or of example inputs."""

    bench: Bench
    options: Options
    original: Artifact
    whole: Mapping[str, float]
    data: Sequence[Feeds]
    real: bool
    said: Callable[[str], None]
    allow_slower: bool = False

    def cut(self, module: nn.Module, share: float) -> Cutting:
        """Down to `share` of the original's cost; GateFailed, with what each alignment came to, if none will do."""
        program = program_of(self.bench.task, module)
        self.said("find what goes together")
        graph = graph_of(program)
        every = scores(self.options.importance, program, graph.groups, self.data if self.real else ())
        groups = [group for group in graph.groups if group.name in every]
        found = sensitivities(program, groups, every, self.data)
        worth = _worth(module, program, groups, found, every, self._saved_by(program, module))
        refused = []
        for alignment in self.alignments(module, groups):
            ranking = Ranking(groups, every, worth, self.options.scope, alignment)
            try:
                plan, removal = self._fitted(ranking, module, program, share)
            except GateFailed as error:
                refused.append(f"in multiples of {alignment}, {error}")
                self.said(refused[-1])
                continue
            layers = tuple(Layer(g.name, g.size, g.size - len(removal[g.name])) for g in groups)
            return Cutting(plan, layers, found, graph.locked, alignment)
        raise GateFailed("; ".join(dict.fromkeys(refused)))

    @property
    def target(self) -> Target:
        assert self.options.target
        return self.options.target

    def alignments(self, module: nn.Module, groups: Sequence[Group]) -> tuple[int, ...]:
        """The one that was asked for, or all, those that pay first. Heads have widths of their own."""
        if self.options.alignment is not None:
            return (self.options.alignment,)
        return (1,) if all(map(is_heads, groups)) else self.staircase(module).alignments()

    def staircase(self, module: nn.Module) -> Staircase:
        kind = "convolution" if any(isinstance(part, CONVOLUTIONS) for part in module.modules()) else "linear"
        self.said("measure the latency staircase of the engine, unless this machine's is known")
        return staircase(kind, self.bench.exporter, self.bench.threads)

    def share(self, kind: str, module: nn.Module) -> float:
        """What the module costs, as a share of the original."""
        program = program_of(self.bench.task, module)
        if kind == "latency":
            return 1 / self.bench.gain(self.bench.file(module, "trial"), self.original).value
        if kind == "size":
            return self.bench.file(module, "trial").path.stat().st_size / self.whole["size"]
        count = cost.macs(module, program) if kind == "macs" else cost.parameters(module)
        return count / self.whole[kind]

    def _saved_by(self, program: Program, module: nn.Module) -> Callable[[Plan], float]:
        """What a plan saves, in parameters where these are the target, else in multiply-accumulates."""
        kind = "params" if self.target.kind in ("params", "size") else "macs"
        before = self.share(kind, module)
        return lambda plan: before - self.share(kind, plan.apply(module))

    def _fitted(self, ranking: Ranking, module: nn.Module, program: Program, share: float) -> tuple[Plan, Removal]:
        """GateFailed if the target is out of reach, if nothing is removed, or if the result is slower than the original."""
        kind = self.target.kind

        def costs(removal: Removal) -> float:
            return self.share(kind, plan_of(module, ranking.groups, removal).apply(module))

        steps = FINE if kind in ("macs", "params") else COARSE
        removal = smallest(ranking.removal, costs, share, kind, steps)
        plan = plan_of(module, ranking.groups, removal)
        if not plan.cuts:
            raise GateFailed("nothing is removed: the target is met as it is, or no layer has that many channels")
        gain = self.bench.gain(self.bench.file(plan.apply(module), "trial"), self.original)
        if is_slower(gain) and not self.allow_slower:
            raise GateFailed(f"the pruned model is slower than the original ({times(gain)} as fast)")
        return plan, removal


def _worth(
    module: nn.Module, program: Program, groups: Sequence[Group], found: Sequence[Sensitivity],
    every: Mapping[str, object], saved_by: Callable[[Plan], float],
) -> dict[str, float]:  # fmt: skip
    """Of a unit of each group: the error that half of the group makes, for each share of the cost that it saves."""
    result = {}
    for group, sensitivity in zip(groups, found, strict=True):
        ranking = Ranking([group], every, {group.name: 1.0}, "layer")  # type: ignore[arg-type]
        gained = saved_by(plan_of(module, [group], ranking.removal(0.5)))
        result[group.name] = sensitivity.at_half / gained if gained > 0 else float("inf")
    return result

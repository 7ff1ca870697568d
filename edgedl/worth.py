"""Whether an artifact is worth having: smaller, and not slower, than the float one that it was made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgedl.artifact import Artifact
from edgedl.measure import InputChoice, Measured, Plan, speedup, subjects_of
from edgedl.measure.statistics import Estimate
from edgedl.measure.summary import between, is_faster, is_slower, times

QUICK = Plan(runs=12, seconds=0.4, rounds=12, warmup_runs=2, warmup_seconds=0.05)
SURE = Plan(runs=40, seconds=2.0, rounds=20, warmup_runs=2, warmup_seconds=0.1, seed=1, profile=True)
"""What a first "slower" is confirmed by: noise that strikes twice is rarer than one interval in forty."""
NAMED = 4
"""Operators that are named, at the most."""


@dataclass(frozen=True)
class Worth:
    """size, parent_size: bytes. faster: how many times, None where `unknown` says why. engine: where that was measured.

    eaters: where an artifact that is slower spends more time than its parent, as `QuantizeLinear +12 us`, the most first.
    """

    name: str
    parent: str
    size: int
    parent_size: int
    faster: Estimate | None
    engine: str
    target: str
    eaters: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def objections(self) -> tuple[str, ...]:
        """Why it is not worth having, a sentence each; empty where it is."""
        return tuple(sentence for sentence in (self._slower(), self._larger()) if sentence)

    @property
    def slower(self) -> bool:
        return self.faster is not None and is_slower(self.faster)

    @property
    def loss(self) -> str:
        """How many times slower it is, as `5.87x`."""
        return times(self._inverse()) if self.slower else ""

    @property
    def slower_types(self) -> tuple[str, ...]:
        """The types of operators in `eaters`."""
        return tuple(eater.split(" ")[0] for eater in self.eaters)

    @property
    def sentence(self) -> str:
        """`2.1x faster (95 % interval 2.0 to 2.2) and 3.4x smaller than net.onnx`."""
        smaller = f"{self.parent_size / self.size:.2g}x smaller than {self.parent}"
        if self.faster is None:
            return f"{smaller}; its speed is not known: {self.unknown}"
        if not is_faster(self.faster):
            return f"as fast (95 % interval {self.faster.low:.2f}x to {self.faster.high:.2f}x) and {smaller}"
        return f"{times(self.faster)} faster ({between(self.faster)}) and {smaller}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sentence": self.sentence, "objections": list(self.objections)}

    def _slower(self) -> str:
        if not self.slower:
            return ""
        loss = self._inverse()
        why = f"; what eats the gain: {', '.join(self.eaters)}" if self.eaters else ""
        return f"{self.name} is {times(loss)} slower than {self.parent} ({between(loss)}) in {self.engine}{why}"

    def _inverse(self) -> Estimate:
        assert self.faster
        return Estimate(1 / self.faster.value, 1 / self.faster.high, 1 / self.faster.low)

    def _larger(self) -> str:
        if self.size < self.parent_size:
            return ""
        return f"{self.name} is not smaller than {self.parent}: {self.size:,} bytes against {self.parent_size:,}"


def worth_of(artifact: Artifact, parent: Artifact, target: str = "local") -> Worth:
    """Hold the artifact against its parent, interleaved, one thread each, on the target; a few seconds.

    Slower is only what two measurements find, each with an interval that excludes 1. Unavailable where the target is not here.
    """
    sides = _measured(artifact, parent, target, QUICK)
    if (gain := _gain(*sides)) and is_slower(gain):
        sides = _measured(artifact, parent, target, SURE)
        gain = _gain(*sides)
    sizes = artifact.path.stat().st_size, parent.path.stat().st_size
    engine = sides[0].engine or sides[0].runtime
    eaters = _eaters(*sides) if gain and is_slower(gain) else ()
    unknown = next((s.failure.message for s in sides if s.failure), f"{target} times no runs") if gain is None else ""
    return Worth(artifact.path.name, parent.path.name, *sizes, gain, engine, target, eaters, unknown)


def _measured(artifact: Artifact, parent: Artifact, target: str, plan: Plan) -> tuple[Measured, Measured]:
    from edgedl.targets import find

    subjects = subjects_of([artifact, parent])
    record = find(target).measure(subjects, InputChoice(subjects), plan, lambda done, total: None)
    return record.subjects[0], record.subjects[1]


def _gain(artifact: Measured, parent: Measured) -> Estimate | None:
    timed = all(side.rounds and not side.failure for side in (artifact, parent))
    return speedup(artifact, parent) if timed else None


def _eaters(artifact: Measured, parent: Measured) -> tuple[str, ...]:
    """Types of operators in which the artifact spends more time than its parent, by the engine's profile of both."""
    spent, before = _by_kind(artifact), _by_kind(parent)
    grown = sorted(((value - before.get(kind, 0.0), kind) for kind, value in spent.items()), reverse=True)
    threshold = 0.02 * sum(spent.values())
    return tuple(f"{kind} +{more / 1e3:.3g} us" for more, kind in grown[:NAMED] if before and more > threshold)


def _by_kind(side: Measured) -> dict[str, float]:
    """Nanoseconds per run by type of operator; empty where there is no profile."""
    spent: dict[str, float] = {}
    for cost in side.profile.operators if side.profile else ():
        spent[cost.kind] = spent.get(cost.kind, 0.0) + cost.ns
    return spent

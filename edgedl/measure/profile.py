"""What each operator of a model costs, and what bounds it: the roofline (Williams, Waterman and Patterson, CACM 52, 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgedl.errors import InvalidInput

BOUND_FROM = 0.25
"""From this share of what the roofline allows on, the roofline is said to bound an operator; below, something else does."""
BOUNDS = {
    "computing": "the processor's arithmetic",
    "memory": "reading and writing memory",
    "overhead": "what is neither arithmetic nor memory: starting operators, indexing, conversions",
}


@dataclass(frozen=True)
class OperatorCost:
    """One operator, in the order of execution.

    ns: per run. bytes_in: of its inputs and weights. bytes_out: of its outputs; both 0 where they are not known.
    macs: multiply-accumulates, None where they are not known.
    """

    name: str
    kind: str
    ns: float
    bytes_in: int
    bytes_out: int
    macs: int | None

    def __post_init__(self) -> None:
        if min(self.ns, self.bytes_in, self.bytes_out, self.macs or 0) < 0:
            raise InvalidInput(f"operator {self.name!r} has a negative cost")


@dataclass(frozen=True)
class Roof:
    """What the machine can do at most, as measured: multiply-accumulates of float32, and bytes read or written, a second."""

    macs_per_second: float
    bytes_per_second: float
    threads: int
    how: str

    def __post_init__(self) -> None:
        if min(self.macs_per_second, self.bytes_per_second) <= 0:
            raise InvalidInput("a roofline needs rates above 0")

    def limits(self, cost: OperatorCost) -> Mapping[str, float]:
        """The nanoseconds that an operator takes at least, by what bounds it."""
        moved = cost.bytes_in + cost.bytes_out
        return {
            "computing": 1e9 * (cost.macs or 0) / self.macs_per_second,
            "memory": 1e9 * moved / self.bytes_per_second,
        }

    def share(self, cost: OperatorCost) -> float:
        """How much of what the roofline allows an operator reaches; above 1 for int8, and for what lies in a cache."""
        return max(self.limits(cost).values()) / max(cost.ns, 1e-9)

    def bound(self, cost: OperatorCost) -> str:
        """A key of BOUNDS."""
        limits = self.limits(cost)
        return max(limits, key=lambda kind: limits[kind]) if self.share(cost) >= BOUND_FROM else "overhead"


@dataclass(frozen=True)
class Profile:
    """how: in what way the operators were timed. runs: of each. whole_ns: of one run of the model, timed the same way.

    arena_bytes: the engine's own count of its tensors' peak. least_bytes: the largest sum of tensors that are alive at one
    operator, which no plan of memory can undercut. None where it is not told. roof: None where it was not measured.
    """

    how: str
    runs: int
    whole_ns: float
    operators: tuple[OperatorCost, ...]
    arena_bytes: int | None = None
    least_bytes: int | None = None
    roof: Roof | None = None

    def __post_init__(self) -> None:
        if not self.operators or self.whole_ns < 0 or min(self.arena_bytes or 0, self.least_bytes or 0) < 0:
            raise InvalidInput("a profile needs operators, and times and bytes of 0 or more")

    @property
    def total_ns(self) -> float:
        """The sum over the operators."""
        return sum(cost.ns for cost in self.operators)

    @property
    def working_set(self) -> int:
        """What one run touches, in bytes; what two operators touch counts twice."""
        return sum(cost.bytes_in + cost.bytes_out for cost in self.operators)

    def by_bound(self, roof: Roof) -> dict[str, float]:
        """The share of the operators' time for each of BOUNDS, the largest first."""
        shares = dict.fromkeys(BOUNDS, 0.0)
        for cost in self.operators:
            shares[roof.bound(cost)] += cost.ns / max(self.total_ns, 1e-9)
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def verdict(profile: Profile) -> str:
    """One sentence that says what bounds the model, and where most of its time goes."""
    kinds: dict[str, float] = {}
    for cost in profile.operators:
        kinds[cost.kind] = kinds.get(cost.kind, 0.0) + cost.ns / max(profile.total_ns, 1e-9)
    kind = max(kinds, key=lambda name: kinds[name])
    where = f"{kinds[kind]:.0%} of the operators' time is {kind}"
    if profile.roof is None:
        return f"bound by what is not known, for want of a roofline or of what the operators move; {where}"
    bound, share = next(iter(profile.by_bound(profile.roof).items()))
    reached = sum(profile.roof.share(cost) * cost.ns for cost in profile.operators) / max(profile.total_ns, 1e-9)
    return f"bound by {BOUNDS[bound]} in {share:.0%} of its time; {where}; it reaches {reached:.0%} of the measured roofline"

"""The ratio that meets a target: pruning tools take a share of channels, people want a share of the cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgedl.errors import GateFailed, InvalidInput
from edgedl.pruning.groups import Removal

KINDS = ("macs", "params", "size", "latency")
_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1_000_000, "kib": 1024, "mib": 1024**2}


@dataclass(frozen=True)
class Target:
    """What must be left. value: a share of the original's (macs, params, latency), or bytes of the exported file (size)."""

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"unknown target {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.kind == "size" and self.value < 1:
            raise InvalidInput(f"--size {self.value:g}: expected bytes, as 200kB")
        if self.kind != "size" and not 0 < self.value < 1:
            raise InvalidInput(
                f"--{self.kind} {self.value:g}: expected the share of the original's that is left, between 0 and 1, as 0.5"
            )

    @classmethod
    def size(cls, text: str) -> Target:
        """From `200kB`, `1.5MB` or a number of bytes; InvalidInput for anything else."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip())
        if not found or found[2].lower() not in _UNITS:
            raise InvalidInput(f"--size {text!r}: expected bytes, as 200kB, 1.5MB or 200000")
        return cls("size", float(found[1]) * _UNITS[found[2].lower()])

    def share(self, original: float, step: int, steps: int) -> float:
        """Of the original's cost, what is left after one step of several: each leaves the same share of the one before.

        original: bytes of its file, for a size. GateFailed if that is small enough already.
        """
        share = self.value / original if self.kind == "size" else self.value
        if share >= 1:
            raise GateFailed(f"the original's file of {original:.0f} bytes is within --size {self.value:.0f} already")
        return float(share ** (step / steps))


def smallest(
    removal: Callable[[float], Removal], cost: Callable[[Removal], float], most: float, what: str, steps: int
) -> Removal:
    """The removal of the smallest ratio whose cost is at most `most`, found by halving; GateFailed if there is none.

    Ratios that remove the same cost nothing to try again.
    """
    known: dict[tuple[int, ...], float] = {}

    def costs(ratio: float) -> tuple[Removal, float]:
        found = removal(ratio)
        key = tuple(len(units) for units in found.values())
        if key not in known:
            known[key] = cost(found)
        return found, known[key]

    low, high = 0.0, 1.0
    best, least = costs(high)
    if least > most:
        raise GateFailed(
            f"{what} cannot be brought down to {most:.3g} of the original: {least:.3g} is left when all that may go is gone"
        )
    for _ in range(steps):
        middle = (low + high) / 2
        found, value = costs(middle)
        if value <= most:
            best, high = found, middle
        else:
            low = middle
    return best

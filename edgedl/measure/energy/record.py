"""Energy as it may be told: with the way that it was found, and its error. There is no default watt."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgedl.errors import InvalidInput

METHODS = ("measured", "modelled")


@dataclass(frozen=True)
class Energy:
    """joules: of the work alone, with the idle power subtracted where `idle_watts` is given.

    method: `measured` by a counter or `modelled`. source: the counter, or the model and what it was fitted on.
    error: half the width of a 95 % interval, in joules; a counter's own calibration is not in it. bounds: the interval,
    in joules, where it is not joules +- error: what is known to a factor has one that holds no 0.
    seconds: how long the work took. idle_watts: the power that was subtracted.
    """

    joules: float
    method: str
    source: str
    error: float
    seconds: float | None = None
    idle_watts: float | None = None
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS or not self.source:
            raise InvalidInput(f"energy needs a method ({' or '.join(METHODS)}) and a source, got {self.method!r}")
        if not (math.isfinite(self.joules) and math.isfinite(self.error) and self.error >= 0):
            raise InvalidInput(f"energy of {self.joules} J with an error of {self.error} J: expected finite numbers")

    @property
    def visible(self) -> bool:
        """Whether the work can be told from the idle machine."""
        return self.low > 0

    @property
    def low(self) -> float:
        """Joules, the lower end of the interval."""
        return self.bounds[0] if self.bounds else self.joules - self.error

    @property
    def high(self) -> float:
        """Joules, the upper end."""
        return self.bounds[1] if self.bounds else self.joules + self.error

    def per(self, count: float) -> Energy:
        """The same for one of `count` equal pieces of work; `per(1 / 1000)` is a thousand of them."""
        seconds = None if self.seconds is None else self.seconds / count
        bounds = self.bounds and (self.bounds[0] / count, self.bounds[1] / count)
        return replace(self, joules=self.joules / count, error=self.error / count, seconds=seconds, bounds=bounds)

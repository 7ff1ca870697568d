"""What to measure, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput, UnknownName
from edgedl.reference import TaskReference

FEWEST_ROUNDS = 6
"""With fewer, no interval of the median covers 95 %: the extremes of n rounds cover 1 - 2 * 0.5**n."""
MODES = {
    "latency": "one run after the other, rounds interleaved",
    "throughput": "several processes at once, rounds interleaved",
    "cold": "a new process and a file out of the page cache for every run",
    "sustained": "one subject after the other, each without a pause",
}


@dataclass(frozen=True)
class Subject:
    """One model in one engine with one number of threads (None leaves it to the engine).

    options: of the engine, by name (see Runtime.options). affinity: numbers of the processors it may run on; none: any.
    """

    label: str
    source: Artifact | TaskReference
    runtime: str = "auto"
    device: str = "cpu"
    threads: int | None = 1
    options: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How much is measured; totals per subject.

    runs, seconds: both are reached. rounds: bursts that the runs are spread over, interleaved across subjects.
    warmup_runs, warmup_seconds: run before, and not kept. seed: of the order within a round.
    timeout: seconds that loading, or one burst, may take before the engine counts as hung.
    mode: one of MODES. streams: processes that run at once (mode `throughput`). In the mode `cold` a round is one start,
    and `runs` and `seconds` do not count. profile: afterwards, in runs of their own, what each operator takes.
    """

    runs: int = 100
    seconds: float = 2.0
    rounds: int = 20
    warmup_runs: int = 10
    warmup_seconds: float = 0.2
    seed: int = 0
    timeout: float = 600.0
    mode: str = "latency"
    streams: int = 1
    profile: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownName("mode", self.mode, MODES)
        for figure in fields(self):
            value = getattr(self, figure.name)
            if figure.name != "mode" and not 0 <= value < 1e9:
                raise InvalidInput(f"{figure.name}={value}: expected a number from 0 to 1e9")
        if self.rounds < FEWEST_ROUNDS:
            raise InvalidInput(f"rounds={self.rounds}: expected {FEWEST_ROUNDS} or more, fewer give no 95 % interval")
        if self.runs < 1 or self.streams < 1:
            raise InvalidInput(f"runs={self.runs}, streams={self.streams}: expected 1 or more")

    @property
    def runs_per_round(self) -> int:
        return -(-self.runs // self.rounds)

    @property
    def seconds_per_round(self) -> float:
        return self.seconds / self.rounds

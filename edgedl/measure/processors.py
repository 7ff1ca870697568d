"""The processor that a round runs on: one for all its subjects, so that no model is faster for where it happened to run.

Two virtual processors of one machine are not alike while others use it. Of 35 pairs of processes with the same file in ONNX
Runtime, each of 1 s, the ratios had a standard deviation of 1.3 % where the system placed them, and of 0.4 % on one processor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ALIKE = 0.9
"""A processor counts as a fast one from this share of the fastest one's clock or capacity."""
_SPEEDS = ("cpu_capacity", "cpufreq/cpuinfo_max_freq")
"""what Linux tells of the speed of a processor"""


def of_round(number: int, seed: int) -> int | None:
    """A fast processor that this process may use, drawn anew for each round; None where the system does not pin processes."""
    choice = fast(speeds())
    return int(np.random.default_rng([seed, number]).choice(choice)) if choice else None


def fast(speeds: Mapping[int, float]) -> tuple[int, ...]:
    """The numbers of those that are about as fast as the fastest: the large cores where there are small ones too."""
    most = max(speeds.values(), default=0.0)
    return tuple(sorted(number for number, speed in speeds.items() if speed >= ALIKE * most))


def speeds(folder: Path = Path("/sys/devices/system/cpu")) -> Mapping[int, float]:
    """Processor -> its speed against others, 1.0 where the system does not tell; empty where processes cannot be pinned."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return {number: _speed(folder / f"cpu{number}") for number in allowed}


def _speed(processor: Path) -> float:
    for name in _SPEEDS:
        try:
            return float((processor / name).read_text())
        except (OSError, ValueError):
            continue
    return 1.0

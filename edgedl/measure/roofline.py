"""The machine's peak rates, measured once and kept: `python -m edgedl.measure.roofline` prints them.

Arithmetic: the best of several float32 matrix products of numpy's BLAS. Memory: the best of several copies, of 256 kB to
128 MB, for a model that fits a cache is not bound by what lies behind it. All are what a good library reaches here, and not
what a data sheet says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgedl.errors import EngineFailed, InvalidInput
from edgedl.files import write_atomic
from edgedl.measure.codec import decode
from edgedl.measure.environment import environment
from edgedl.measure.profile import Roof

SIZE, TIMES = 768, 8
LEVELS = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 27)
"""Bytes of a copy's source and target together."""
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Rates:
    """macs_per_second: of float32. bytes_per_second: of the copies of LEVELS, one thread."""

    macs_per_second: float
    bytes_per_second: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.bytes_per_second) != len(LEVELS) or min(self.macs_per_second, *self.bytes_per_second) <= 0:
            raise InvalidInput("expected a rate above 0 for each level")


def roofline(threads: int, working_set: int, folder: Path | None = None) -> Roof:
    """The rates of this machine with so many threads, for a model that touches `working_set` bytes in a run.

    Measured in a process of its own, or as kept from before in `folder`.
    """
    rates = _rates(threads, folder or cache_folder())
    level = next((number for number, size in enumerate(LEVELS) if working_set <= size), len(LEVELS) - 1)
    how = f"float32 matrix product of numpy's BLAS, copies within {LEVELS[level] >> 10} kB"
    return Roof(rates.macs_per_second, rates.bytes_per_second[level], threads, how)


def _rates(threads: int, folder: Path) -> Rates:
    kept = folder / f"roofline-{_machine()}-{threads}.json"
    try:
        return decode(Rates, json.loads(kept.read_text()), "rates")
    except (OSError, ValueError, InvalidInput):
        rates = _measured(threads)
        write_atomic(kept, json.dumps(asdict(rates)).encode())
        return rates


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/edgedl, or ~/.cache/edgedl."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgedl"


def _machine() -> str:
    """The processor and what is left of it, as part of a file name."""
    there = environment()
    return "".join(c if c.isalnum() else "-" for c in f"{there.cpu} {there.cores} numpy {np.__version__}")


def _measured(threads: int) -> Rates:
    done = subprocess.run(
        [sys.executable, "-m", "edgedl.measure.roofline"],
        env={**os.environ, **dict.fromkeys(_BLAS, str(threads))}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise EngineFailed(f"the roofline could not be measured: {done.stderr.strip()[-200:]}")
    return decode(Rates, json.loads(done.stdout), "rates")


def probe() -> Rates:
    """Measure now, in this process, whose BLAS was told its number of threads when it started."""
    left, right = np.random.default_rng(0).standard_normal((2, SIZE, SIZE)).astype(np.float32)
    out = np.empty_like(left)
    macs = SIZE**3 / _best(lambda: np.matmul(left, right, out=out))
    return Rates(macs, tuple(map(_copy_rate, LEVELS)))


def _copy_rate(size: int) -> float:
    """Bytes read and written a second."""
    source, target = np.ones((2, size // 2), np.uint8)
    return size / _best(lambda: np.copyto(target, source))


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several."""
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    print(json.dumps(asdict(probe())))

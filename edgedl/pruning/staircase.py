"""The latency staircase of an engine: which multiples of channels it runs best, measured once on each machine.

An engine computes in blocks of a vector's width: 33 channels take as long as 40 or 48 do. Two layers of a kind are timed at
channel counts that are multiples of 16, of 8 alone and of neither, all of them interleaved; the mean count is the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgedl.datasets import cache
from edgedl.errors import EdgedlError
from edgedl.exporter import Exporter
from edgedl.files import make_folder, staging, write_atomic
from edgedl.measure.codec import decode
from edgedl.measure.environment import environment
from edgedl.spec import Array, Feeds
from edgedl.task import Task

if TYPE_CHECKING:
    from torch import nn

ALIGNMENTS = (1, 8, 16)
COUNTS = (29, 51, 24, 56, 32, 48)
ROUNDS, RUNS = 40, 5
PAYS = 1.05
"""An alignment is as good as the best one up to this factor; the finest of those is taken."""


@dataclass(frozen=True)
class Step:
    """nanoseconds: median of one run at this number of channels."""

    channels: int
    nanoseconds: float


@dataclass(frozen=True)
class Staircase:
    """kind: `convolution` (3x3, 16x16 pixels) or `linear` (64 rows). machine, engine: where it was measured."""

    kind: str
    machine: str
    engine: str
    steps: tuple[Step, ...]

    def cost(self, alignment: int) -> float:
        """Nanoseconds for each channel in and out, at counts that are multiples of the alignment and of no larger one."""
        own = [step for step in self.steps if _alignment(step.channels) == alignment]
        return float(np.mean([step.nanoseconds / step.channels**2 for step in own]))

    def alignments(self) -> tuple[int, ...]:
        """Best first: the finest that pays, then the others by their cost."""
        costs = {alignment: self.cost(alignment) for alignment in ALIGNMENTS}
        least = min(costs.values())
        first = min(alignment for alignment in ALIGNMENTS if costs[alignment] <= PAYS * least)
        return (first, *sorted((a for a in ALIGNMENTS if a != first), key=costs.__getitem__))

    def __str__(self) -> str:
        said = ", ".join(f"{a}: {self.cost(a) / self.cost(self.alignments()[0]):.2f}x" for a in ALIGNMENTS)
        return f"cost of a channel of a {self.kind} at multiples of {said} ({self.engine})"


def _alignment(channels: int) -> int:
    return max(alignment for alignment in ALIGNMENTS if channels % alignment == 0)


def staircase(kind: str, exporter: Exporter, threads: int) -> Staircase:
    """The one that this machine has in its cache, or a newly measured one."""
    path = _cached(kind, exporter, threads)
    with contextlib.suppress(OSError, ValueError, EdgedlError):
        return decode(Staircase, json.loads(path.read_text()), "staircase")
    found = measured(kind, exporter, threads)
    with contextlib.suppress(EdgedlError, OSError):  # a cache that cannot be written costs a second measurement
        write_atomic(make_folder(path.parent) / path.name, json.dumps(asdict(found)).encode())
    return found


def _cached(kind: str, exporter: Exporter, threads: int) -> Path:
    here = environment()
    key = repr((kind, exporter.format, threads, here.cpu, here.cores, sorted(here.packages.items())))
    return cache() / "staircases" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def measured(kind: str, exporter: Exporter, threads: int, counts: Sequence[int] = COUNTS) -> Staircase:
    """Time a probe of every count in this process, interleaved."""
    from edgedl.pruning.bench import Bench
    from edgedl.runtime import load

    with staging(cache()) as folder, contextlib.ExitStack() as stack:
        probes = []
        for count in counts:
            task = _probe(kind, count)
            file = Bench(task, exporter, folder).file(task.model(), task.name)
            probes.append((stack.enter_context(load(file, threads=threads)), task.example_inputs()))
        times = np.array([[_nanoseconds(session.run, feeds) for session, feeds in probes] for _ in range(ROUNDS)])
        steps = tuple(Step(count, float(value)) for count, value in zip(counts, np.median(times, 0), strict=True))
        return Staircase(kind, environment().cpu, probes[0][0].engine, steps)


def _probe(kind: str, channels: int) -> Task:
    from torch import nn

    def model() -> nn.Module:
        if kind == "convolution":
            layers: list[nn.Module] = [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        else:
            layers = [nn.Linear(channels, channels), nn.ReLU()]
        return nn.Sequential(*layers, *layers)

    return Task(f"probe{channels}", model, lambda: _inputs(kind, channels))


def _inputs(kind: str, channels: int) -> dict[str, Array]:
    shape = (1, channels, 16, 16) if kind == "convolution" else (64, channels)
    return {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def _nanoseconds(run: Callable[[Feeds], object], feeds: Feeds) -> float:
    """Of one run, the median of a few; the first warms the caches and does not count."""
    samples = []
    for _ in range(RUNS + 1):
        began = time.perf_counter_ns()
        run(feeds)
        samples.append(time.perf_counter_ns() - began)
    return float(np.median(samples[1:]))

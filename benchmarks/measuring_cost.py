"""What measuring costs and how well it repeats: `python benchmarks/measuring_cost.py MODEL`.

Prints the processor time of a measured run over that of the bare run, for a run of 100 microseconds (goal: at most 1.03x),
and the spread of the peak memory of MODEL over ten processes (goal: a standard deviation of at most 1 %).
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

import numpy as np
from _ratio import interleaved, sentence

from edgedl.artifact import Artifact
from edgedl.isolated import IsolatedSession
from edgedl.measure import InputChoice, Subject
from edgedl.runtime import Session
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.worker import Worker

RUNS, PROCESSES = 500, 10


class Work(Session):
    """About `microseconds` of arithmetic for each run."""

    def __init__(self, microseconds: float) -> None:
        super().__init__((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),), "work", "cpu")
        self.amount = range(1_000)
        spent = min(self._seconds() for _ in range(200))
        self.amount = range(round(1_000 * microseconds / (1e6 * spent)))

    def _seconds(self) -> float:
        start = time.perf_counter()
        self._invoke({"x": np.zeros(1)})
        return time.perf_counter() - start

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        total = 0
        for number in self.amount:
            total += number
        return {"y": feeds["x"]}


def cost(rounds: int) -> str:
    """The worker's loop, in this process, against nothing but the runs."""
    worker, feeds = Worker(), {"x": np.zeros(1, np.float32)}
    worker.session = Work(100)
    worker.feed({"sets": 1}, {"0/x": feeds["x"]})
    run = worker.session.run

    def bare() -> None:
        for _ in range(RUNS):
            run(feeds)

    ratios = interleaved(lambda: worker.measure({"runs": RUNS, "seconds": 0}, {}), bare, rounds, 1, time.process_time)
    return sentence("CPU time of a measured run of 100 us over the bare run", ratios, 1.03)


def peak(artifact: Artifact) -> int:
    """The model's peak memory in one process, as `edgedl benchmark` takes it."""
    subject = Subject(artifact.path.name, artifact)
    with contextlib.closing(IsolatedSession(artifact, threads=1)) as session:
        inputs = InputChoice([subject])(subject, session.inputs)
        session.ask("feed", {f"0/{name}": array for name, array in inputs.feeds.items()}, sets=1)
        session.ask("measure", runs=11, seconds=0)
        told = session.ask("memory")[0]
        return max(told["load"], told["run"])


def repeats(artifact: Artifact) -> str:
    peaks = np.array([peak(artifact) for _ in range(PROCESSES)])
    spread = peaks.std(ddof=1) / peaks.mean()
    return (
        f"peak memory of {artifact.path.name} in {PROCESSES} processes: {peaks.mean() / 1e6:.1f} MB, standard deviation "
        f"{spread:.2%} (goal at most 1 %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    print(cost(options.rounds))
    for path in options.models:
        print(repeats(Artifact.open(path)))


if __name__ == "__main__":
    main()

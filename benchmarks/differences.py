"""How often `edgedl benchmark` is wrong: `python benchmarks/differences.py [--trials 50]`.

A made-up engine does a fixed amount of arithmetic for each run, in processes of its own, as any engine. Prints how often two
subjects of equal work are called different (goal: at most 2 %), and how often one with 10 % more is found to be slower (goal:
90 % on a quiet machine, 65 % under load). `--simulated` draws the rounds from a model of a noisy machine, in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edgedl.artifact import Artifact
from edgedl.measure import InputChoice, Plan, measure, statistics, subjects_of
from edgedl.measure.environment import load_average
from edgedl.measure.statistics import Estimate
from edgedl.measure.summary import PROCESS_SPREAD, is_faster, is_slower, speedup

ENGINE = """
from edgedl.runtime import Session
from edgedl.spec import TensorSpec

class Work(Session):
    def __init__(self, amount):
        super().__init__((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),), "work 1.0", "cpu")
        self.amount = range(amount)
    def _invoke(self, feeds):
        total = 0
        for number in self.amount:
            total += number
        return {"y": feeds["x"]}

class Engine:
    name, formats, requires, extra = "work", frozenset({"onnx"}), (), "work"
    def load(self, source, device, threads):
        return Work(int(source.path.read_text()))

runtime = Engine()
"""
AMOUNT = 20_000


def install(folder: Path) -> None:
    """The engine as a plugin, here and in child processes."""
    info = folder / "work_engine-1.0.dist-info"
    info.mkdir()
    (folder / "work_engine.py").write_text(ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: work-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgedl.runtimes]\nwork = work_engine:runtime\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)


def measured(folder: Path, factor: float, plan: Plan) -> Estimate:
    """How many times faster the first of two subjects is; the second does `factor` times its work."""
    works = {"one.onnx": AMOUNT, "other.onnx": round(AMOUNT * factor)}
    for name, amount in works.items():
        (folder / name).write_text(str(amount))
    subjects = subjects_of([Artifact(folder / name) for name in works], ["work"])
    record = measure(subjects, InputChoice(subjects), plan, lambda done, total: None)
    one, other = record.finished
    return speedup(one, other)


def simulated(generator: np.random.Generator, factor: float, load: float, rounds: int) -> Estimate:
    """A machine with bursts: what all subjects share, each one's own noise, and rounds in which one alone is hit.

    Two processes of one file stand apart by at most PROCESS_SPREAD in 56 pairs, which is 2.4 standard deviations.
    """
    shared = generator.lognormal(0, 0.1, rounds) * (1 + 2 * (generator.random(rounds) < 0.15))
    apart = generator.lognormal(0, PROCESS_SPREAD / 2.4 / 2**0.5, 2)
    own = generator.lognormal(0, 0.01 + 0.04 * load, (2, rounds)) * (1 + load * (generator.random((2, rounds)) < 0.1))
    one, other = shared * own * apart[:, None]
    return statistics.widened(statistics.ratio(factor * other, one), PROCESS_SPREAD)


def shares(trial: Callable[[float], Estimate], trials: int, kept: Path | None = None) -> tuple[float, float]:
    """(called different though equal, found to be slower by 10 %); every pair of trials adds a line of JSON to `kept`."""
    equal, slower = [], []
    for _ in range(trials):
        pair = trial(1.0), trial(1.1)
        equal.append(is_faster(pair[0]) or is_slower(pair[0]))
        slower.append(is_faster(pair[1]))
        if kept:
            with kept.open("a") as file:
                print(json.dumps([load_average(), *map(asdict, pair)]), file=file)
    return float(np.mean(equal)), float(np.mean(slower))


def sentence(where: str, found: tuple[float, float], trials: int) -> str:
    return (
        f"{where}, {trials} trials each: {found[0]:.1%} false differences, {found[1]:.1%} of true 10 % slowdowns found"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each subject of a trial")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--keep", type=Path, help="add the load average and both ratios of each trial to this file")
    options = parser.parse_args()
    if options.simulated:
        generator = np.random.default_rng(0)
        for where, load in (("quiet, simulated", 0.0), ("under load, simulated", 1.0)):
            found = shares(lambda factor, load=load: simulated(generator, factor, load, 20), options.trials)
            print(sentence(where, found, options.trials))
        return
    plan = Plan(seconds=options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        found = shares(lambda factor: measured(Path(folder), factor, plan), options.trials, options.keep)
    print(sentence(f"measured here, load average {load_average()}", found, options.trials))


if __name__ == "__main__":
    main()

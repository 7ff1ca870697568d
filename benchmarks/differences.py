"""How often `edgedl benchmark` is wrong: `python benchmarks/differences.py [--trials 50]`.

Two files in ONNX Runtime, each in processes of its own: a chain of ten equal convolutions beside a copy of itself, and beside
one of eleven. Prints how often equal files are called different (goal: at most 2 %), and how often the one with 10 % more is
found to be slower (goal: 90 % on a quiet machine, 65 % under load). `--simulated` draws the rounds from a model of a noisy
machine, in seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgedl.artifact import Artifact
from edgedl.measure import InputChoice, Plan, measure, statistics, subjects_of
from edgedl.measure.environment import load_average
from edgedl.measure.statistics import Estimate
from edgedl.measure.summary import PROCESS_SPREAD, is_faster, is_slower, speedup

LAYERS, CHANNELS, SIDE = 10, 16, 20
"""About 0.2 ms a run"""


def chain(layers: int) -> onnx.ModelProto:
    """Equal 3x3 convolutions, one after the other."""
    weights = np.random.default_rng(0).normal(0, 0.08, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    stored = [numpy_helper.from_array(weights, f"w{n}") for n in range(layers)]
    nodes = [helper.make_node("Conv", [f"x{n}", f"w{n}"], [f"x{n + 1}"], pads=[1] * 4) for n in range(layers)]
    ends = [
        helper.make_tensor_value_info(f"x{n}", onnx.TensorProto.FLOAT, (1, CHANNELS, SIDE, SIDE)) for n in (0, layers)
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def measured(folder: Path, factor: float, plan: Plan) -> Estimate:
    """How many times faster the first of two subjects is; the second has `factor` times its layers."""
    files = {"one.onnx": LAYERS, "other.onnx": round(LAYERS * factor)}
    for name, layers in files.items():
        onnx.save(chain(layers), str(folder / name))
    subjects = subjects_of([Artifact(folder / name) for name in files], ["ort"])
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
        found = shares(lambda factor: measured(Path(folder), factor, plan), options.trials, options.keep)
    print(sentence(f"measured here, load average {load_average()}", found, options.trials))


if __name__ == "__main__":
    main()

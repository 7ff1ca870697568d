"""What `edgedl quantize --auto` makes of networks that plain int8 destroys: `python benchmarks/autopilot.py [uneven hardswish] [--seconds 300]`.

The networks of benchmarks/mobilenetv3.py on 28x28 digits (10,000 images of MNIST where EDGEDL_DATA has them), trained here in a
minute each. Prints, for both formats, what plain int8 loses in points, what is lost after the search, how long it took, and how
many layers stay in float.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import mobilenetv3

import edgedl
from edgedl import Artifact, Task, registry
from edgedl.errors import GateFailed
from edgedl.exporter import DEFAULT_OPTIONS
from edgedl.quantizing import job, target_of
from edgedl.tune.autopilot import autotune
from edgedl.tune.trial import run_trial, scored_once

BUDGET = 0.015
"""The drop that is allowed: 1.5 points."""
FORMATS = ("onnx", "tflite")
TASKS = {"uneven": mobilenetv3.task, "hardswish": mobilenetv3.hardswish}


def plain(source: Artifact, task: Task, folder: Path) -> str:
    """The drop of int8 with all defaults, in points."""
    wanted, path = target_of(source, "w8a8", folder, BUDGET)
    with job(source, wanted, path, task) as opened:
        trial = run_trial(scored_once(opened), DEFAULT_OPTIONS, folder / f"plain{path.suffix}")
    return "does not load" if trial.drop is None else f"loses {100 * trial.drop:.2f}"


def searched(source: Artifact, task: Task, folder: Path, seconds: float) -> str:
    began = time.monotonic()
    try:
        found = autotune(source, out=folder, task=task, max_drop=BUDGET, seconds=seconds, speed_check=False)
    except GateFailed as failure:
        return f"fails: {failure}"
    assert found.manifest
    record, told = found.manifest.provenance, found.manifest.evidence["score"]
    options: dict[str, Any] = record["options"]
    changed = [f"{key}={options[key]}" for key in ("calibrator", "equalize", "bias_correction", "smooth")]
    layers = len(registry.exporter(source.format).layers(source.path))
    return (
        f"loses {100 * told['drop']:.2f} points, {time.monotonic() - began:.0f} s, {record['search']['trials']} trials, "
        f"{len(options['keep_float'])} of {layers} layers in float, {', '.join(changed)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--seconds", type=float, default=300.0)
    given = parser.parse_args()
    for name in given.networks or TASKS:
        with tempfile.TemporaryDirectory() as folder:
            show(TASKS[name](), Path(folder), given.seconds)


def show(task: Task, folder: Path, seconds: float) -> None:
    assert task.fit and task.evaluate
    module = task.fit(task.model(), 0, lambda done, total: None).eval()
    trained = mobilenetv3.trained(task, module)
    for source in edgedl.export(trained, FORMATS, folder):
        print(
            f"{task.name:12}{source.format:8}plain int8 {plain(source, trained, folder)} points; the search ",
            end="",
            flush=True,
        )
        print(searched(source, trained, folder, seconds), flush=True)


if __name__ == "__main__":
    main()

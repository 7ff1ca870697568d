"""A sweep over batch sizes, precisions and transfers on a GPU: `python benchmarks/gpu.py net.onnx [--device tensorrt]`.

The model's batch axis has to be dynamic (TensorRT builds an engine for each length, which takes minutes). Prints the median of a run, what
one sample takes, and the joules of a run where NVML tells them. Exits with a sentence where there is no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError
from edgedl.measure import InputChoice, Measured, Plan, measure, subjects_of
from edgedl.measure.summary import summarize
from edgedl.report.footprint import energy_of

PLAN = Plan(runs=60, seconds=1.0, rounds=12)
PRECISIONS = {"cuda": ("fp32", "tf32"), "tensorrt": ("fp32", "fp16", "int8")}


def sweep(artifact: Artifact, device: str, batches: list[int]) -> Iterator[tuple[int, str, str, Measured]]:
    for batch in batches:
        for precision in PRECISIONS[device]:
            for transfers in ("1", "0"):
                options = {"precision": precision, "transfers": transfers}
                subjects = subjects_of([artifact], ["ort"], device, options=options)
                record = measure(subjects, InputChoice(subjects, batch), PLAN, lambda done, total: None)
                yield batch, precision, transfers, record.subjects[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", choices=sorted(PRECISIONS), default="cuda")
    parser.add_argument("--batches", default="1,2,4,8,16,32")
    given = parser.parse_args()
    batches = [int(text) for text in given.batches.split(",")]
    for batch, precision, transfers, subject in sweep(Artifact.open(given.model), given.device, batches):
        if subject.failure:
            raise SystemExit(subject.failure.message)
        median, energy = summarize(subject).median_ns.value, energy_of(subject)
        joules = f", {energy.joules:.3g} J" if energy else ""
        copies = "with" if transfers == "1" else "without"
        print(
            f"batch {batch:3} {precision:5} {copies:7} transfers: {median / 1e6:.3f} ms, {median / batch / 1e3:.1f} us a sample{joules}"
        )


if __name__ == "__main__":
    try:
        main()
    except EdgedlError as error:
        raise SystemExit(str(error)) from error

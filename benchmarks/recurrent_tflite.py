"""What loops gain in TFLite: `python benchmarks/recurrent_tflite.py [--time 100] [--unrolled FOLDER]`.

For an LSTM and a two-layer BiLSTM: operators, seconds of conversion and relative RMS against torch; then time(loop) /
time(unrolled by litert-torch) and time(loop) / time(ONNX Runtime), interleaved, one thread, with 95 % intervals.
Unrolling the BiLSTM takes minutes; its file is kept in FOLDER and used again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _ratio import Work, interleaved, sentence
from torch import nn

from edgedl import load
from edgedl.exporter import Exporter, Program
from edgedl.registry import exporter
from edgedl.verify.parity import relative_rms

GOAL = 1 / 1.5
KINDS = {"lstm": (1, False), "bilstm": (2, True)}


class Network(nn.Module):
    """The sequence of an LSTM alone: a final state that nobody reads costs nothing in any of the files."""

    def __init__(self, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.layer = nn.LSTM(64, 128, layers, bidirectional=bidirectional, batch_first=True)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(inputs[0])[0],)


def program(kind: str, steps: int) -> Program:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((1, steps, 64)).astype(np.float32)
    return Program(kind, Network(*KINDS[kind]).eval(), {"x": x}, ("y",))


def unrolled(subject: Program, path: Path) -> Path:
    """The file that litert-torch makes by itself."""
    if not path.exists():
        import litert_torch

        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            litert_torch.convert(subject.module, (torch.from_numpy(subject.inputs["x"]),)).export(str(path))
    return path


def exported(plugin: Exporter, subject: Program, folder: Path) -> Path:
    path = folder / f"{subject.name}{plugin.suffix}"
    start = time.perf_counter()
    plugin.export(subject, path)
    seconds = time.perf_counter() - start
    count = sum(plugin.describe(path).operators.values())
    print(f"{path.name}: {count} operators, converted in {seconds:.1f} s, relative RMS {_error(subject, path):.1e}")
    return path


def _error(subject: Program, path: Path) -> float:
    with torch.no_grad():
        (expected,) = subject.module(torch.from_numpy(subject.inputs["x"]))
    return relative_rms(load(path).run(subject.inputs)["y"], expected.numpy())


def run_of(path: Path, subject: Program) -> Work:
    session = load(path, threads=1)
    return lambda: session(*subject.inputs.values())  # the unrolled file has names of its own


def compare(kind: str, options: argparse.Namespace, folder: Path) -> None:
    subject = program(kind, options.time)
    ours = run_of(exported(exporter("tflite"), subject, folder), subject)
    others = {
        "unrolled": (run_of(unrolled(subject, options.unrolled / f"{kind}-{options.time}.tflite"), subject), GOAL),
        "ONNX Runtime": (run_of(exported(exporter("onnx"), subject, folder), subject), None),
    }
    for name, (theirs, goal) in others.items():
        ratios = interleaved(ours, theirs, options.rounds, 5)
        told = sentence(f"{kind}, {options.time} steps: loop / {name}", ratios, round(goal or 0, 3))
        print(told if goal else told.partition("; goal")[0] + ")")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=int, default=100, help="steps of the sequence")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--unrolled", type=Path, help="where the unrolled files are kept")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        options.unrolled = options.unrolled or Path(name)
        for kind in KINDS:
            compare(kind, options, Path(name))


if __name__ == "__main__":
    main()

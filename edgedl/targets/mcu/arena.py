"""The tensor arena: what one run needs beside the program and the model."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgedl.errors import EngineFailed
from edgedl.lifetimes import Lifetimes
from edgedl.measure import Figure
from edgedl.targets.mcu import allocate

PACKAGE = "tflite-micro"
_TENSOR, _NODE, _PERSISTENT_TENSOR = 24, 64, 64
"""bytes of TfLiteEvalTensor, NodeAndRegistration and TfLiteTensor where pointers have 64 bits, as tflite-micro tells them; with
32 bits they are smaller"""
_CHANNEL = 8
"""bytes: a multiplier and a shift for each channel of a quantized weight"""
_KERNEL = 200
"""bytes that a kernel keeps; measured: up to 197 for each operator (digits, float)"""
_INTERPRETER = 1024
"""bytes of the allocator, the planner and the graph; measured: 712 and 720"""
_LARGEST = 1 << 28
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


@dataclass(frozen=True)
class Arena:
    """size: bytes. how: `measured` or `estimated`. basis: what an estimate rests on. note: how it was measured."""

    size: int
    how: str
    basis: str | None = None
    note: str | None = None

    def figure(self) -> Figure:
        return Figure("arena", float(self.size), "B", self.how, basis=self.basis)


def arena(path: Path, lives: Lifetimes, timeout: float) -> Arena:
    """Measured where tflite-micro is installed, else estimated; EngineFailed for what it cannot open."""
    guess = estimated(lives)
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        return guess
    note = f"arena as {PACKAGE} {found} takes it on this machine, where pointers have 64 bits"
    return Arena(measured(path, lives, timeout), "measured", note=note)


def estimated(lives: Lifetimes) -> Arena:
    """The planned tensors, and what TensorFlow Lite Micro keeps of graph and kernels; above what was measured on each model tried."""
    kept = _TENSOR * lives.tensors + (_NODE + _KERNEL) * len(lives.operators) + _CHANNEL * lives.channels
    size = (
        lives.activations + lives.variables + kept + _PERSISTENT_TENSOR * (lives.inputs + lives.outputs) + _INTERPRETER
    )
    return Arena(size, "estimated", "the lifetimes of the tensors, and bounds on what the interpreter keeps")


def measured(path: Path, lives: Lifetimes, timeout: float) -> int:
    """Bytes that TensorFlow Lite Micro takes; in a process of its own, with a larger arena where one is too small."""
    size = 2 * estimated(lives).size + (1 << 16)
    while True:
        said = _said(path, size, lives.inputs, timeout)
        if total := _TOTAL.search(said):
            return int(total[1])
        if "Requested:" not in said or size > _LARGEST:  # else the arena was too small
            raise EngineFailed(f"TensorFlow Lite Micro cannot run it: {_reason(said)}")
        size *= 4


def _said(path: Path, size: int, inputs: int, timeout: float) -> str:
    command = [sys.executable, "-I", str(Path(allocate.__file__)), str(path), str(size), str(inputs)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired as stop:
        raise EngineFailed(f"TensorFlow Lite Micro took more than {timeout:g} s to run it") from stop
    return done.stderr + (f"\nits process ended with {done.returncode}" if done.returncode < 0 else "")


def _reason(said: str) -> str:
    """The node that failed and why, or the first line that is neither Python's nor empty."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("Traceback", "  "))]
    node = next((line for line in lines if line.startswith("Node ")), None)
    first = lines[0] if lines else "it gave no reason"
    return f"{node} ({first})" if node and node != first else first

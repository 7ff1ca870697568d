"""pnnx: from an ONNX file and the shapes of its inputs to ncnn's two files. It writes where it is called, and is called in a folder of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pnnx

from edgedl.errors import EngineFailed
from edgedl.spec import TensorSpec
from edgedl_ncnn.prepare import prepared
from edgedl_ncnn.specs import PNNX_TYPES

SECONDS = 300
"""of pnnx; a transformer of 11 million parameters takes 4"""
NO_BATCH = 233
"""ncnn's word for a tensor none of whose axes is the batch"""

Shapes = tuple[tuple[int, ...], ...]
"""of the inputs, in their order"""


@dataclass(frozen=True)
class Converted:
    """param, bin: ncnn's files. inputs, outputs: name in ncnn (`in0`, `out0`) -> which axis is the batch, or NO_BATCH.

    An input that the model does not use is not among them.
    """

    param: Path
    bin: Path
    inputs: dict[str, int]
    outputs: dict[str, int]


def convert(source: Path, inputs: Sequence[TensorSpec], shapes: Shapes, folder: Path) -> Converted:
    """Into `folder`; EngineFailed, in one sentence, for what pnnx does not convert."""
    prepared(source, folder / "model.onnx")
    said = _pnnx(source, _shape_text(inputs, shapes), folder)
    files = [folder / f"model{suffix}" for suffix in (".ncnn.param", ".ncnn.bin", "_ncnn.py")]
    if not all(file.is_file() for file in files):
        raise EngineFailed(f"{source} is not for ncnn: pnnx cannot convert it{_reason(said)}")
    param, weights, script = files
    return Converted(param, weights, *_batches(script.read_text()))


def _shape_text(inputs: Sequence[TensorSpec], shapes: Shapes) -> str:
    pairs = zip(inputs, shapes, strict=True)
    return ",".join(f"[{','.join(map(str, shape))}]{PNNX_TYPES[spec.dtype]}" for spec, shape in pairs)


def _pnnx(source: Path, shapes: str, folder: Path) -> str:
    """What it said. Its exit code tells nothing: what it wrote does."""
    command = [pnnx.EXEC_PATH, "model.onnx", f"inputshape={shapes}", "fp16=0"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{source} is not for ncnn: pnnx did not convert it within {SECONDS} s") from error
    return (done.stderr + done.stdout).decode(errors="replace")


def _reason(said: str) -> str:
    missing = re.findall(r"([\w.]+):(\w+)\(-?\d+\) is not a registered function/op", said)
    if missing:
        return f", which has no operator {missing[0][1]} of {missing[0][0]}: take the float file"
    lines = [line.strip() for line in said.splitlines() if "fail" in line.lower() or "error" in line.lower()]
    return f" ({lines[-1][:200]})" if lines else ", and does not say why"


def _batches(script: str) -> Iterator[dict[str, int]]:
    """pnnx tells which axis became the batch in the Python file that it writes, and nowhere else."""
    for pattern in (
        r'ex\.input\("(in\d+)", ncnn\.Mat\(.*?batch_index=(\d+)\)',
        r"\b(out\d+)\.numpy\(batch_index=(\d+)\)",
    ):
        yield {name: int(axis) for name, axis in re.findall(pattern, script)}

"""pnnx: from an ONNX file and the shapes of its inputs to a bundle. It writes where it is called, and is called in a folder of its own."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ncnn
import pnnx

from edgedl.errors import EngineFailed
from edgedl.spec import TensorSpec
from edgedl_pnnx.bundle import NO_BATCH, Bundle, Port
from edgedl_pnnx.prepare import prepared
from edgedl_pnnx.specs import PNNX_TYPES

SECONDS = 300
"""of pnnx; a transformer of 11 million parameters takes 4"""

Shapes = tuple[tuple[int, ...], ...]
"""of the inputs, in their order"""


def convert(
    source: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], shapes: Shapes, name: str,
    others: Shapes | None = None,
) -> Bundle:  # fmt: skip
    """The ONNX file at fixed input shapes; EngineFailed, in one sentence about `name`, for what pnnx or ncnn does not have.

    others: shapes that the network has to take as well; where they differ from the first, pnnx writes layers for any length.
    """
    with tempfile.TemporaryDirectory(prefix="edgedl-ncnn-") as folder:
        prepared(source, Path(folder) / "model.onnx")
        wanted = [f"inputshape={_shape_text(inputs, shapes)}"]
        wanted += [f"inputshape2={_shape_text(inputs, others)}"] if others else []
        said = _pnnx(name, wanted, Path(folder))
        files = [Path(folder) / f"model{suffix}" for suffix in (".ncnn.param", ".ncnn.bin", "_ncnn.py")]
        if not all(file.is_file() for file in files):
            raise EngineFailed(f"{name} is not for ncnn: pnnx cannot convert it{_reason(said)}")
        param, weights, script = files
        ports = _ports(script.read_text(), "in", inputs), _ports(script.read_text(), "out", outputs)
        bundle = Bundle(param.read_text(), weights.read_bytes(), *ports)
    _check_layers(name, bundle.param)
    if lost := [port.spec.name for port in bundle.outputs if port.blob is None]:
        raise EngineFailed(f"{name} is not for ncnn: pnnx loses its output {lost[0]!r}")
    return bundle


def _shape_text(inputs: Sequence[TensorSpec], shapes: Shapes) -> str:
    pairs = zip(inputs, shapes, strict=True)
    return ",".join(f"[{','.join(map(str, shape))}]{PNNX_TYPES[spec.dtype]}" for spec, shape in pairs)


def _pnnx(name: str, shapes: Sequence[str], folder: Path) -> str:
    """What it said. Its exit code tells nothing: what it wrote does."""
    command = [pnnx.EXEC_PATH, "model.onnx", *shapes, "fp16=0"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{name} is not for ncnn: pnnx did not convert it within {SECONDS} s") from error
    return (done.stderr + done.stdout).decode(errors="replace")


def _reason(said: str) -> str:
    missing = re.findall(r"([\w.]+):(\w+)\(-?\d+\) is not a registered function/op", said)
    if missing:
        return f", which has no operator {missing[0][1]} of {missing[0][0]}: take the float file"
    lines = [line.strip() for line in said.splitlines() if "fail" in line.lower() or "error" in line.lower()]
    return f" ({lines[-1][:200]})" if lines else ", and does not say why"


_TOLD = {
    "in": r'ex\.input\("(in\d+)", ncnn\.Mat\(.*?batch_index=(\d+)\)',
    "out": r"\b(out\d+)\.numpy\(batch_index=(\d+)\)",
}


def _ports(script: str, side: str, specs: Sequence[TensorSpec]) -> tuple[Port, ...]:
    """pnnx tells which axis became the batch in the Python file that it writes, and nowhere else; what the model does not use is not there."""
    axes = {name: int(axis) for name, axis in re.findall(_TOLD[side], script)}
    blobs = (f"{side}{number}" for number in range(len(specs)))
    return tuple(
        Port(spec, blob if blob in axes else None, axes.get(blob, NO_BATCH))
        for spec, blob in zip(specs, blobs, strict=True)
    )


def _check_layers(name: str, param: str) -> None:
    """pnnx writes what it has no ncnn layer for as it is."""
    kinds = {line.split()[0] for line in param.splitlines()[2:] if line.strip()}
    if missing := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        quantized = ": take the float file" if any("quantize" in kind.lower() for kind in missing) else ""
        raise EngineFailed(f"{name} is not for ncnn, which has no layer for {', '.join(missing)}{quantized}")

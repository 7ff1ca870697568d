"""A model file in its engine, called directly, and how far two outputs are apart. Nothing of edgedl's judges here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedl.spec import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]

WHOLE, SLICE = 1e-5, 1e-3
"""The largest error of a float file: of the root mean square of the whole output, and of its slice along any axis."""


def engine(path: Path) -> Run:
    """Outputs by name, in the order of the file."""
    return _litert(path) if path.suffix == ".tflite" else _onnxruntime(path)


def _onnxruntime(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, dict(feeds)), strict=True))


def _litert(path: Path) -> Run:
    """Inputs of int64 become what the file takes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    runner = interpreter.get_signature_runner()
    dtypes = {name: detail["dtype"] for name, detail in runner.get_input_details().items()}
    return lambda feeds: runner(**{name: array.astype(dtypes[name]) for name, array in feeds.items()})


def eager(module: nn.Module, feeds: Mapping[str, Array], double: bool = False) -> list[Array]:
    """What the module gives, flat; double: computed in float64."""
    tensors = [torch.from_numpy(array.copy()) for array in feeds.values()]
    if double:
        module, tensors = module.double(), [t.double() if t.is_floating_point() else t for t in tensors]
    with torch.no_grad():
        return [tensor.numpy() for tensor in _tensors(module(*tensors))]


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def wrong(got: Array, want: Array, noise: Array | None = None) -> str:
    """Why `got` is not `want`; empty where it is. noise: elementwise, what rounding alone does to `want`."""
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    if want.dtype.kind != "f":
        unequal = int(np.sum(got != want))
        return f"{unequal} of {want.size} values differ" if unequal else ""
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return "other values are not finite"
    error = np.where(finite, np.abs(np.where(finite, got, 0).astype(np.float64) - np.where(finite, want, 0)), 0)
    error = np.maximum(error - (0 if noise is None else 10 * noise), 0)
    return _over(error, np.where(finite, want, 0).astype(np.float64))


def _over(error: Array, want: Array) -> str:
    """The worst slice along any axis whose error is over both bounds."""
    whole = rms(want)
    found = [(float("inf") if not whole else rms(error) / whole, "the whole")] if rms(error) > SLICE * whole else []
    for axis in range(want.ndim):
        for index in range(want.shape[axis]):
            part, size = rms(error.take(index, axis)), rms(want.take(index, axis))
            if part > WHOLE * whole + SLICE * size:
                found.append((part / size if size else float("inf"), f"index {index} of axis {axis}"))
    return f"relative error {max(found)[0]:.2g} at {max(found)[1]}" if found else ""


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def rounding(module: Callable[[], nn.Module], feeds: Mapping[str, Array], want: Sequence[Array]) -> list[Array | None]:
    """How far each output is from that of the module in float64; None where that cannot be computed."""
    try:
        exact = eager(module(), feeds, double=True)
    except Exception:  # a module that holds float32 of its own, which is no fault
        return [None] * len(want)
    return [np.abs(a.astype(np.float64) - b) if a.dtype.kind == "f" else None for a, b in zip(want, exact, strict=True)]

"""How far one output is from its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedl.spec import Array

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parity:
    """One output of one case; see `compare` for the figures."""

    case: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    finite: bool
    max_abs: float
    relative_rms: float
    cosine: float
    top1: float | None
    failure: str = ""


def compare(case: str, output: str, got: Array, want: Array, tolerance: float) -> Parity:
    """Hold `got` against `want` (any shape, any dtype).

    max_abs: max |got - want|. relative_rms: rms(got - want) / rms(want); for integers and booleans the share of elements
    that differ. cosine: of the two as vectors. top1: share of rows with the same argmax, for float outputs of rank 2.
    failure: one sentence, empty where the output passes.
    """
    if got.shape != want.shape:
        return _refused(case, output, got, f"shape {got.shape}, the reference has {want.shape}")
    if _kind(got) != _kind(want):
        return _refused(case, output, got, f"dtype {got.dtype}, the reference has {want.dtype}")
    finite = _same_where_not_finite(got, want)
    figures = _distance(got, want)
    failure = ""
    if not finite:
        failure = (
            f"{np.size(got) - int(np.isfinite(got).sum())} of {np.size(got)} values are not finite, "
            f"and {np.size(want) - int(np.isfinite(want).sum())} of the reference's"
        )
    elif not figures["relative_rms"] <= tolerance:
        failure = f"relative RMS error {figures['relative_rms']:.2g} is over the tolerance {tolerance:.2g}"
    return Parity(case, output, got.shape, got.dtype.name, finite, **figures, top1=_top1(got, want), failure=failure)


def _same_where_not_finite(got: Array, want: Array) -> bool:
    """Whether NaN and each infinity stand at the same places."""
    odd = ~(np.isfinite(got) & np.isfinite(want))
    return np.array_equal(got[odd], want[odd], equal_nan=want.dtype.kind == "f")


def _refused(case: str, output: str, got: Array, failure: str) -> Parity:
    nan = float("nan")
    return Parity(case, output, got.shape, got.dtype.name, bool(np.isfinite(got).all()), nan, nan, nan, None, failure)


def _kind(array: Array) -> str:
    """int64 and int32 are one kind: TFLite narrows; all else must be equal."""
    return "int" if array.dtype.name in ("int32", "int64") else array.dtype.name


def relative_rms(got: Array, want: Array) -> float:
    """rms(got - want) / rms(want), over the elements where `want` is finite; the bare rms where `want` is all zero."""
    a, b = _finite_pairs(got, want)
    scale = float(np.sqrt(np.mean(b**2))) if b.size else 0.0
    error = float(np.sqrt(np.mean((a - b) ** 2))) if b.size else 0.0
    return error / scale if scale else error


def _finite_pairs(got: Array, want: Array) -> tuple[Doubles, Doubles]:
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    both = np.isfinite(a) & np.isfinite(b)
    return a[both], b[both]


def _distance(got: Array, want: Array) -> dict[str, Any]:
    a, b = _finite_pairs(got, want)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return {
        "max_abs": float(np.abs(a - b).max(initial=0.0)),
        "relative_rms": relative_rms(got, want)
        if want.dtype.kind == "f"
        else float(np.mean(got != want))
        if want.size
        else 0.0,
        "cosine": float(a @ b) / norms if norms else float(np.array_equal(a, b)),
    }


def _top1(got: Array, want: Array) -> float | None:
    if want.ndim != 2 or not want.shape[0] or want.shape[1] < 2 or want.dtype.kind != "f":
        return None
    return float(np.mean(got.argmax(1) == want.argmax(1)))

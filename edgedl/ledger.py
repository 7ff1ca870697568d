"""Where the bytes of a model file are, and what a quantizer left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edgedl.exporter import Description, Stored

_WIDE = ("float32", "float64")
_NARROW = ("int8", "uint8", "int4", "uint4", "int2", "int16", "float16", "bfloat16")


def ledger(constants: Iterable[tuple[str, str, int, int]]) -> tuple[Stored, ...]:
    """The lines of the ledger from one (operator, dtype, bytes, axes longer than 1) for each constant, the most bytes first."""
    total: Counter[tuple[str, str]] = Counter()
    weights: Counter[tuple[str, str]] = Counter()
    for operator, dtype, count, rank in constants:
        total[operator, dtype] += count
        weights[operator, dtype] += count if rank > 1 else 0
    return tuple(Stored(*key, count, weights[key]) for key, count in total.most_common())


def left_wide(description: Description) -> str:
    """One sentence about float weights in a file whose other weights are narrower; empty where there are none."""
    narrow = sum(line.weights for line in description.ledger if line.dtype in _NARROW)
    wide = [line for line in description.ledger if line.dtype in _WIDE and line.weights]
    count = sum(line.weights for line in wide)
    if not narrow or not wide:
        return ""
    where = ", ".join(f"{line.operator} {line.weights:,}" for line in wide)
    share = count / (count + narrow)
    return f"{count:,} bytes of weights are still {wide[0].dtype} ({where}): {share:.0%} of the bytes of all weights"

"""Keep the operators in float that make a quantized file slower than its float parent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError
from edgedl.exporter import Exporter, FloatRegion, Layer, QuantizationOptions
from edgedl.quantization.written import Written
from edgedl.worth import Worth

SECONDS = 60.0
"""after which no further file is tried"""
_SMALL_SHARE = 0.3
"""Of all weights: layers of a type that hold more of them stay integers, whatever they cost."""
_CASTS = ("QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE")


def write_paying(
    write: Callable[[QuantizationOptions, Path], Written], judge: Callable[[Artifact], Worth], exporter: Exporter,
    path: Path, options: QuantizationOptions,
) -> tuple[Written, Worth]:  # fmt: skip
    """Write the file, and again with its slow operators in float where it is slower than float; return the one that pays.

    Where none pays, the first is written again: what it is slow for is what its user can know.
    """
    deadline = time.monotonic() + SECONDS
    first = write(options, path)
    found = judge(Artifact(path))
    for names in _candidates(exporter, path, found) if found.slower else ():
        if time.monotonic() > deadline:
            break
        try:
            tried = write(replace(options, keep_float=(*options.keep_float, *names)), path)
        except EdgedlError:  # nothing would be left, or the scheme has no such choice
            continue
        if not (worth := judge(Artifact(path))).objections:
            region = FloatRegion(
                names, f"in integers the file is {found.loss} slower than float: {', '.join(found.eaters)}"
            )
            return replace(tried, in_float=(region, *tried.in_float)), worth
    return (write(options, path) if found.slower else first), found


def _candidates(exporter: Exporter, quantized: Path, found: Worth) -> Iterator[tuple[str, ...]]:
    """Sets of operators to try in float: types that take longer than before, then the first layer too, which has few channels."""
    layers = exporter.layers(quantized)
    types = tuple(kind for kind in _slower_types(exporter, quantized, found) if _is_small(kind, layers))
    if types:
        yield types
    if len(layers) > 1 and layers[0].operator not in types and _share(layers[:1], layers) <= _SMALL_SHARE:
        yield (*types, layers[0].name)


def _slower_types(exporter: Exporter, quantized: Path, found: Worth) -> list[str]:
    """Of operators of the file itself, without what engines make of them."""
    there = exporter.describe(quantized).operators
    kinds = dict.fromkeys(kind.removeprefix("QLinear") for kind in found.slower_types)
    return [kind for kind in kinds if kind in there and kind not in _CASTS]


def _is_small(kind: str, layers: Sequence[Layer]) -> bool:
    return _share([layer for layer in layers if layer.operator == kind], layers) <= _SMALL_SHARE


def _share(some: Sequence[Layer], layers: Sequence[Layer]) -> float:
    """Of all parameters."""
    return sum(layer.parameters for layer in some) / max(sum(layer.parameters for layer in layers), 1)

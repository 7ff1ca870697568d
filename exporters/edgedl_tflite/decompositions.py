"""Operators that TFLite has in part, written with what it has: resizes whose ratio is no whole number, transposed convolutions.

TFLite takes the ratio of a resize from the two lengths, torch from `scale_factor`; and TRANSPOSE_CONV knows only padding
that makes the output a multiple of the input, no groups and no dilation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgedl.decompositions import Table

aten = torch.ops.aten


def _nearest(x: Tensor, size: Sequence[int] | None, scales: Sequence[float] | None) -> Any:
    lengths, ratios = _lengths(x, size, scales)
    if not all(isinstance(length, int) for length in (*x.shape[2:], *lengths)):
        return NotImplemented
    if x.dim() == 4 and all(new % old == 0 for old, new in zip(x.shape[2:], lengths, strict=True)):
        return NotImplemented
    for axis, length in enumerate(lengths, 2):
        x = _taken(x, axis, _nearest_place(x.shape[axis], length, ratios[axis - 2]))
    return x


def _linear(x: Tensor, size: Sequence[int] | None, align_corners: bool, scales: Sequence[float] | None) -> Any:
    lengths, ratios = _lengths(x, size, scales)
    if not all(isinstance(length, int) for length in (*x.shape[2:], *lengths)):
        return NotImplemented
    if x.dim() == 4 and (align_corners or _are_exact(x.shape[2:], lengths, ratios)):
        return NotImplemented
    for axis, length in enumerate(lengths, 2):
        x = _between(x, axis, _sources(x.shape[axis], length, align_corners, ratios[axis - 2]))
    return x


def _lengths(
    x: Tensor, size: Sequence[int] | None, scales: Sequence[float] | None
) -> tuple[list[int], list[float | None]]:
    """The lengths that are asked for, and the ratios where they are given."""
    if scales is None:
        return list(size or ()), [None] * (x.dim() - 2)
    return [int(length * scale) for length, scale in zip(x.shape[2:], scales, strict=True)], list(scales)


def _are_exact(old: Sequence[int], new: Sequence[int], ratios: Sequence[float | None]) -> bool:
    """Whether each ratio is that of the two lengths."""
    return all(r is None or math.isclose(a * r, b, rel_tol=1e-6) for a, b, r in zip(old, new, ratios, strict=True))


def _step(old: int, new: int, ratio: float | None) -> float:
    return 1.0 / ratio if ratio else old / new


def _nearest_place(old: int, new: int, ratio: float | None) -> Tensor:
    return (torch.arange(new, dtype=torch.float32) * _step(old, new, ratio)).floor().to(torch.int64).clamp(max=old - 1)


def _sources(old: int, new: int, align_corners: bool, ratio: float | None) -> Tensor:
    """Where each place of the output lies in the input."""
    places = torch.arange(new, dtype=torch.float32)
    if align_corners:
        return places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    return ((places + 0.5) * _step(old, new, ratio) - 0.5).clamp(min=0)


def _taken(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """As index_select, which the converter would guard against places outside the axis."""
    taken: Tensor = aten.index.Tensor(x.movedim(axis, 0), [places])
    return taken.movedim(0, axis)


def _between(x: Tensor, axis: int, source: Tensor) -> Tensor:
    """The values of `x` at places that lie between two of its own."""
    last = x.shape[axis] - 1
    first = source.floor().clamp(max=last)
    share = (source - first).clamp(max=1).reshape([-1] + [1] * (x.dim() - axis - 1))
    near = _taken(x, axis, first.to(torch.int64))
    far = _taken(x, axis, (first + 1).clamp(max=last).to(torch.int64))
    return near * (1 - share) + far * share


def _conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sequence[int] = (1,), padding: Sequence[int] = (0,),
    output_padding: Sequence[int] = (0,), groups: int = 1, dilation: Sequence[int] = (1,),
) -> Any:  # fmt: skip
    """The convolution without padding, of each group, of which the padding is cut off; wider where the output is padded more."""
    rank = weight.dim() - 2
    steps, pads, more, spread = (_each(values, rank) for values in (stride, padding, output_padding, dilation))
    plain = groups == 1 and not any(more) and max(spread) == 1
    multiplies = all(k - 2 * p == s for k, p, s in zip(weight.shape[2:], pads, steps, strict=True))
    if rank > 2 or x.dim() != rank + 2 or (plain and (not any(pads) or (rank == 2 and multiplies))):
        return NotImplemented
    operator = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d}[rank]
    kernel = _spread(weight, spread)
    width = weight.shape[0] // groups
    whole = [
        operator(x.narrow(1, start, width), kernel.narrow(0, start, width), None, steps)
        for start in range(0, weight.shape[0], width)
    ]
    full = whole[0] if groups == 1 else torch.cat(whole, 1)
    borders: list[int] = []
    for pad, extra in zip(pads, more, strict=True):
        borders = [-pad, extra - pad, *borders]
    result = _bordered(full, borders)
    return result if bias is None else result + bias.reshape([-1] + [1] * rank)


def _bordered(x: Tensor, borders: Sequence[int]) -> Tensor:
    """Cut where a border is negative, then pad with zeros."""
    for number in range(len(borders) // 2):
        axis, start, end = x.dim() - 1 - number, -borders[2 * number], min(borders[2 * number + 1], 0)
        x = x.narrow(axis, start, x.shape[axis] - start + end)
    behind = [max(border, 0) if number % 2 else 0 for number, border in enumerate(borders)]
    return functional.pad(x, behind) if any(behind) else x


def _spread(weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """The kernel with zeros between its elements."""
    for axis, gap in enumerate(dilation, 2):
        if gap > 1:
            parts = [weight.narrow(axis, place, 1) for place in range(weight.shape[axis])]
            zeros = torch.cat([torch.zeros_like(parts[0])] * (gap - 1), axis)
            weight = torch.cat([parts[0], *(t for part in parts[1:] for t in (zeros, part))], axis)
    return weight


def _each(values: Sequence[int], rank: int) -> list[int]:
    return list(values) if len(values) == rank else list(values) * rank


TABLE: Table = {
    aten.upsample_nearest1d.vec: _nearest, aten.upsample_nearest2d.vec: _nearest, aten.upsample_nearest3d.vec: _nearest,
    aten.upsample_linear1d.vec: _linear, aten.upsample_bilinear2d.vec: _linear, aten.upsample_trilinear3d.vec: _linear,
    aten.conv_transpose1d.default: _conv_transpose, aten.conv_transpose2d.input: _conv_transpose,
}  # fmt: skip

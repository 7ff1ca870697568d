"""Operators that formats lack, written with operators that they have; each gives what eager torch gives.

Lengths that decide how a graph is cut must be fixed; where one is dynamic, the operator stays as it is and the format refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten


Table = Mapping[Any, Callable[..., Any]]
"""operator -> what gives its results; NotImplemented leaves it as it is"""


def decompose(exported: torch.export.ExportedProgram, table: Table | None = None) -> torch.export.ExportedProgram:
    """Return the program without the operators in `table`, TABLE by default; the same object where it has none."""
    present = {node.target for node in exported.graph.nodes if node.op == "call_function" and _decomposes(node)}
    known = TABLE if table is None else table
    table = {target: function for target, function in known.items() if target in present}
    return exported.run_decompositions(table) if table else exported


def _decomposes(node: torch.fx.Node) -> bool:
    """A mean over windows does only with a divisor of its own."""
    means = (aten.avg_pool2d.default, aten.avg_pool3d.default)
    return node.target not in means or (len(node.args) > 6 and node.args[6] is not None)


def _avg_pool(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,), ceil: bool = False,
    count_padding: bool = True, divisor: int | None = None,
) -> Any:  # fmt: skip
    """The sum of each window over `divisor`: a mean over windows that are padded with zeros to their full size, times a factor."""
    rank = x.dim() - 2 if x.dim() > len(kernel) + 1 else x.dim() - 1
    sizes, steps, pads = _each(kernel, rank), _each(stride or kernel, rank), _each(padding, rank)
    lengths = x.shape[-rank:]
    if divisor is None or (ceil and not all(isinstance(length, int) for length in lengths)):
        return NotImplemented
    borders: list[Any] = []
    for length, size, step, pad in zip(lengths, sizes, steps, pads, strict=True):
        borders = [pad, _right_border(length, size, step, pad) if ceil else pad, *borders]
    mean = {2: aten.avg_pool2d.default, 3: aten.avg_pool3d.default}[rank]
    return mean(functional.pad(x, borders), sizes, steps) * (math.prod(sizes) / divisor)


def _each(values: Sequence[int], rank: int) -> list[int]:
    return list(values) if len(values) == rank else list(values) * rank


def _right_border(length: int, size: int, step: int, pad: int) -> int:
    """Zeros behind an axis, so that the windows which `ceil_mode` adds are full."""
    windows = -(-(length + 2 * pad - size) // step) + 1
    if (windows - 1) * step >= length + pad:  # the last one must begin in the input or its left border
        windows -= 1
    return max(pad, (windows - 1) * step + size - length - pad)


def _cdist(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Tensor:
    difference = (a.unsqueeze(-2) - b.unsqueeze(-3)).abs()
    if p == math.inf:
        return difference.amax(-1)
    if p == 0:
        return (difference != 0).to(a.dtype).sum(-1)
    if p == 1:
        return difference.sum(-1)
    return (difference * difference).sum(-1).sqrt() if p == 2 else difference.pow(p).sum(-1).pow(1 / p)


def _cummax(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(x, dim, Tensor.amax, -math.inf if x.dtype.is_floating_point else torch.iinfo(x.dtype).min)


def _cummin(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(x, dim, Tensor.amin, math.inf if x.dtype.is_floating_point else torch.iinfo(x.dtype).max)


def _running(x: Tensor, dim: int, extreme: Callable[..., Tensor], neutral: float) -> tuple[Tensor, Tensor]:
    """Each prefix's extreme value and its last place, from a square of all prefixes."""
    if x.dim() == 0:
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    last = x.movedim(dim, -1)
    place = torch.arange(last.shape[-1])
    before = place.unsqueeze(-1) >= place  # [end of the prefix, element]
    row = last.unsqueeze(-2)
    values = extreme(torch.where(before, row, neutral), -1)
    reached = before & (row == values.unsqueeze(-1))
    indices = torch.where(reached, place, 0).amax(-1)
    return values.movedim(-1, dim), indices.movedim(-1, dim)


def _median_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower of the two middle values."""
    values, indices = aten.sort.default(x, dim)
    middle = (x.shape[dim] - 1) // 2
    found = (values.select(dim, middle), indices.select(dim, middle))
    return (found[0].unsqueeze(dim), found[1].unsqueeze(dim)) if keepdim else found


def _median(x: Tensor) -> Tensor:
    return _median_dim(x.reshape(-1), 0)[0]


def _nanmedian_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower middle of what is not NaN; NaN stands behind all numbers."""
    if not x.dtype.is_floating_point:
        return _median_dim(x, dim, keepdim)
    missing = x.isnan()
    values, indices = aten.sort.default(torch.where(missing, math.inf, x), dim)
    count = missing.logical_not().to(torch.int64).sum(dim, keepdim=True)
    middle = ((count - 1) // 2).clamp(min=0)
    median = torch.where(count == 0, math.nan, values.gather(dim, middle))
    index = indices.gather(dim, middle)
    return (median, index) if keepdim else (median.squeeze(dim), index.squeeze(dim))


def _nanmedian(x: Tensor) -> Tensor:
    return _nanmedian_dim(x.reshape(-1), 0)[0]


def _sort_stable(
    x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """The formats' own sort keeps the order of equal values; https://onnx.ai/onnx/operators/onnx__TopK.html."""
    if x.dtype in (torch.bool, torch.int8, torch.uint8, torch.int16):
        values, indices = aten.sort.default(x.to(torch.int32), dim, descending)
        return values.to(x.dtype), indices
    values, indices = aten.sort.default(x, dim, descending)
    return values, indices


def _argsort_stable(x: Tensor, *, stable: bool, dim: int = -1, descending: bool = False) -> Tensor:
    return _sort_stable(x, dim=dim, descending=descending)[1]


def _adaptive_max_pool(x: Tensor, output_size: Sequence[int]) -> Any:
    """The largest value of each window, and its place in the flattened image, the first where there are several."""
    rank = len(output_size)
    lengths = list(x.shape[-rank:])
    if not all(isinstance(length, int) for length in (*lengths, *output_size)):
        return NotImplemented
    values, place = x, None
    for axis in range(-1, -rank - 1, -1):
        behind = math.prod(lengths[axis + 1 :]) if axis < -1 else 1
        values, place = _largest_of_windows(values, place, axis, int(output_size[axis]), behind)
    return values, place


def _largest_of_windows(x: Tensor, place: Tensor | None, axis: int, count: int, stride: int) -> tuple[Tensor, Tensor]:
    """Along one axis. place: of each element among those of the axes behind it, which has `stride` elements."""
    length, parts, places = x.shape[axis], [], []
    for number in range(count):
        start, end = number * length // count, -(-(number + 1) * length // count)
        window = x.narrow(axis, start, end - start)
        value, index = window.max(axis, keepdim=True)
        inner = 0 if place is None else place.narrow(axis, start, end - start).gather(axis, index)
        parts.append(value)
        places.append((index + start) * stride + inner)
    return torch.cat(parts, axis), torch.cat(places, axis)


def _istft(
    z: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    """Inverse transform and overlap-add are one transposed convolution, whose filters are the windowed waves."""
    if onesided is False or return_complex:
        return NotImplemented
    hop, width = hop_length or n_fft // 4, win_length or n_fft
    parts = torch.view_as_real(z if z.dim() == 3 else z.unsqueeze(0))
    spectrum = torch.cat([parts[..., 0], parts[..., 1]], 1)
    taper = torch.ones(width, dtype=parts.dtype) if window is None else window
    taper = functional.pad(taper, [(n_fft - width) // 2, n_fft - width - (n_fft - width) // 2])
    waves = _waves(n_fft, parts.dtype) * taper * (math.sqrt(n_fft) if normalized else 1.0)
    signal = functional.conv_transpose1d(spectrum, waves.unsqueeze(1), stride=hop)
    weight = functional.conv_transpose1d(
        torch.ones_like(spectrum[:1, :1]), (taper * taper).reshape(1, 1, -1), stride=hop
    )
    start = n_fft // 2 if center else 0
    total = n_fft + hop * (spectrum.shape[-1] - 1)
    end = start + length if length is not None else total - start
    kept = slice(start, end)
    result = (signal[..., kept] / weight[..., kept]).squeeze(1)
    if length is not None and isinstance(total, int) and isinstance(end, int) and end > total:
        result = functional.pad(result, [0, end - total])
    return result if z.dim() == 3 else result.squeeze(0)


def _waves(n_fft: int, dtype: torch.dtype) -> Tensor:
    """[2 x frequencies, n_fft]: what each real and each imaginary part adds to a frame."""
    frequency, time = torch.arange(n_fft // 2 + 1).unsqueeze(1), torch.arange(n_fft)
    angle = (frequency * time % n_fft).to(dtype) * (2 * math.pi / n_fft)
    once = (frequency == 0) | (2 * frequency == n_fft)  # all other frequencies have a mirror image
    share = torch.where(once, 1.0, 2.0) / n_fft
    return torch.cat([angle.cos() * share, -angle.sin() * share])


TABLE: Table = {
    aten.avg_pool2d.default: _avg_pool, aten.avg_pool3d.default: _avg_pool,
    aten.cdist.default: _cdist, aten._cdist_forward.default: _cdist,
    aten.cummax.default: _cummax, aten.cummin.default: _cummin,
    aten.median.default: _median, aten.median.dim: _median_dim,
    aten.nanmedian.default: _nanmedian, aten.nanmedian.dim: _nanmedian_dim,
    aten.sort.stable: _sort_stable, aten.argsort.stable: _argsort_stable,
    aten.adaptive_max_pool1d.default: _adaptive_max_pool,
    aten.adaptive_max_pool2d.default: _adaptive_max_pool, aten.adaptive_max_pool3d.default: _adaptive_max_pool,
    aten.istft.default: _istft,
}  # fmt: skip
"""what no format has, or not every one"""

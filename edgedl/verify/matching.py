"""Which tensor of one model is which tensor of another: by name within a format, else by what they hold and their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgedl.spec import Array

Matrix = npt.NDArray[np.float64]
SAMPLE = 1024
"""Elements by which two tensors are told apart."""
FAINTEST = 0.9
"""Correlation below which two tensors of different names are not taken for one: before and after a ReLU it is about 0.85."""
_ADDED = re.compile(r"_(Quantize|Dequantize)Linear_(Input|Output)$")


@dataclass(frozen=True)
class Tensor:
    """line: the user's line that made it, where that is known."""

    name: str
    value: Array
    line: str | None = None


def layouts(array: Array) -> tuple[Array, ...]:
    """The array as it lies and, for rank 3 and more, with its channels moved last or first, or its last axes swapped."""
    if array.ndim < 3:
        return (array,)
    return array, np.moveaxis(array, 1, -1), np.swapaxes(array, -1, -2), np.moveaxis(array, -1, 1)


def matched(ours: Sequence[Tensor], theirs: Sequence[Tensor], same_format: bool) -> list[tuple[int, int]]:
    """Positions of the pairs, in our order; a tensor is in one pair at most. same_format: equal names are one tensor."""
    by_name = named(ours, theirs) if same_format else {}
    known = {_key(ours[i]) for i in by_name}
    left = [i for i, tensor in enumerate(ours) if not by_name or _key(tensor) not in known]
    right = [j for j, tensor in enumerate(theirs) if not by_name or _key(tensor) not in known]
    others = aligned(_gains([ours[i] for i in left], [theirs[j] for j in right]))
    return sorted([*by_name.items(), *((left[i], right[j]) for i, j in others)])


def plain_name(name: str) -> str:
    """Without what quantizers add to a tensor's name."""
    return _ADDED.sub("", name)


def named(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> dict[int, int]:
    """Our position -> theirs, by name. The last of a name counts: after a tensor comes what is left of it after rounding."""
    last = {_key(tensor): j for j, tensor in enumerate(theirs)}
    return {i: last[key] for key, i in {_key(tensor): i for i, tensor in enumerate(ours)}.items() if key in last}


def _key(tensor: Tensor) -> tuple[str, int]:
    return plain_name(tensor.name), tensor.value.size


def _gains(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Matrix:
    """[ours, theirs]: how much a pair is worth; 0 for none, 0.5 more for one of equal names.

    A high power of the correlation: one sure pair is worth more than two doubtful ones.
    """
    gains = np.zeros((len(ours), len(theirs)))
    for size in {t.value.size for t in ours} & {t.value.size for t in theirs}:
        left = [i for i, t in enumerate(ours) if t.value.size == size]
        right = [j for j, t in enumerate(theirs) if t.value.size == size]
        alike = _alike([ours[i].value for i in left], [theirs[j].value for j in right])
        equal = np.array([[plain_name(ours[i].name) == plain_name(theirs[j].name) for j in right] for i in left])
        gains[np.ix_(left, right)] = np.where(equal | (alike > FAINTEST), np.maximum(alike, 0) ** 16, 0) + equal / 2
    return gains


def _alike(ours: Sequence[Array], theirs: Sequence[Array]) -> Matrix:
    """Correlation of sampled elements in the layout that fits best; all arrays have one size."""
    chosen = sampled(ours[0].size)
    right = np.stack([_normal(b.ravel()[chosen]) for b in theirs])
    best = np.zeros((len(ours), len(theirs)))
    for i, array in enumerate(ours):
        left = np.stack([_normal(layout.ravel()[chosen]) for layout in layouts(array)])
        best[i] = (left @ right.T).max(axis=0)
    return best


def sampled(size: int) -> Array:
    """Positions of the elements by which tensors of a size are told apart."""
    return np.random.default_rng(0).permutation(size)[:SAMPLE]


def _normal(values: Array) -> Matrix:
    """Of mean 0 and length 1; zeros where that cannot be."""
    centred = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    centred = centred - (centred.mean() if len(centred) > 2 else 0.0)
    length = float(np.linalg.norm(centred))
    unit: Matrix = centred / length if length else centred
    return unit


def aligned(gains: Matrix) -> list[tuple[int, int]]:
    """The pairs of the greatest sum that keep the order of both sides (Needleman & Wunsch, 1970, gaps for nothing)."""
    rows, columns = gains.shape
    best = np.zeros((rows + 1, columns + 1))
    for i in range(rows):
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], best[i, :-1] + gains[i]))
    pairs, i, j = [], rows, columns
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]

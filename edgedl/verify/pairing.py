"""Pairs of tensors of two models that are certainly one tensor: they hold the same values, up to layout and a constant factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgedl.spec import Array
from edgedl.verify.matching import Matrix, Tensor, aligned, layouts, named, plain_name, sampled

EXACT = 1e-3
"""Relative RMS difference up to which two float tensors are the same; rounding is 1e-6, and another tensor is further off."""
MUCH = 10.0
"""A candidate that is so many times further off than the best one is another tensor."""
ROUNDING = 1e-6
FEWEST = 8
"""Elements of a tensor that can be recognised as a multiple of another."""
UNLIKE = 0.45
"""Relative distance from which two tensors are not taken for one, however few resemble them more."""


@dataclass(frozen=True)
class Pair:
    """Positions of one tensor in two models. layout: which of `layouts` of ours lies as theirs. factor: theirs is so many times ours."""

    ours: int
    theirs: int
    layout: int = 0
    factor: float = 1.0


def sure_pairs(ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]]) -> list[Pair]:
    """Pair what holds the same in every run, in our order; a tensor is in one pair at most.

    Args:
        ours: for each run the tensors of one model, in the order of computation.
        theirs: the same of the other, on the same inputs.
    """
    same, multiples = _candidates(ours, theirs)
    found = _assigned(ours[0], theirs[0], same)
    used = {pair.theirs for pair in found}
    paired = {pair.ours for pair in found}
    for pair in multiples:
        if pair.ours not in paired and pair.theirs not in used:
            found.append(pair)
            paired.add(pair.ours)
            used.add(pair.theirs)
    return sorted(found, key=lambda pair: pair.ours)


def pairs_through(bridge: Sequence[Pair], between: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[Pair]:
    """The pairs with `between`, a model of the same format as `theirs`, as pairs with `theirs`: names lead from one to the other."""
    place = named(between, theirs)
    return [replace(pair, theirs=place[pair.theirs]) for pair in bridge if pair.theirs in place]


def likely_pairs(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[Pair]:
    """Pair tensors that resemble each other more than any other: for models of which nothing but values is known."""
    gains = np.zeros((len(ours), len(theirs)))
    for left, right in _of_one_size(ours, theirs):
        gaps = sampled_gaps([[ours[i]] for i in left], [[theirs[j]] for j in right]).min(axis=0)
        equal = _equal_names([ours[i] for i in left], [theirs[j] for j in right])
        mutual = (gaps <= gaps.min(0) + ROUNDING) & (gaps <= gaps.min(1)[:, None] + ROUNDING) & (gaps < UNLIKE)
        gains[np.ix_(left, right)] = np.where(mutual, 1 - gaps, 0) + equal / 2
    return [Pair(i, j, layout_of(ours[i].value, theirs[j].value)) for i, j in aligned(gains)]


def layout_of(ours: Array, theirs: Array) -> int:
    """Which of `layouts(ours)` lies as `theirs` does."""
    return int(np.argmin([gap(layout, theirs) for layout in layouts(ours)]))


def gap(ours: Array, theirs: Array) -> float:
    """rms(theirs - ours) / rms(ours); infinite where other elements are finite, or where ours is all zero and theirs is not."""
    a, b = ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    a, b = a[finite], b[finite]
    noise, scale = float(np.linalg.norm(a - b)), float(np.linalg.norm(a))
    return noise / scale if scale else (float("inf") if noise else 0.0)


def sampled_gaps(ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]]) -> Matrix:
    """[layout, ours, theirs]: relative distance of sampled elements over all runs."""
    mine, others = _samples(ours, theirs)
    norms, products = (mine**2).sum(-1)[..., None], mine @ others.T
    noise = np.maximum(norms - 2 * products + (others**2).sum(-1), 0)
    found: Matrix = np.sqrt(np.where(norms > 0, noise / np.where(norms > 0, norms, 1), np.where(noise > 0, np.inf, 0)))
    return found


def _of_one_size(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Iterator[tuple[list[int], list[int]]]:
    """Positions of the tensors of each size that both have."""
    for size in sorted({t.value.size for t in ours} & {t.value.size for t in theirs}):
        yield (
            [i for i, t in enumerate(ours) if t.value.size == size],
            [j for j, t in enumerate(theirs) if t.value.size == size],
        )


def _candidates(
    ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]]
) -> tuple[dict[tuple[int, int], tuple[int, float]], list[Pair]]:
    """(pair -> its layout and how far off it is, for what is the same; multiples in our order)."""
    same: dict[tuple[int, int], tuple[int, float]] = {}
    multiples: list[Pair] = []
    for left, right in _of_one_size(ours[0], theirs[0]):
        mine = [[run[i] for run in ours] for i in left]
        others = [[run[j] for run in theirs] for j in right]
        for a, b, view in zip(*np.nonzero((sampled_gaps(mine, others) <= 3 * EXACT).transpose(1, 2, 0)), strict=True):
            off = _farthest(mine[a], others[b], int(view))
            if off < min(EXACT, same.get((left[a], right[b]), (0, EXACT))[1]):
                same[left[a], right[b]] = int(view), off
        for a, b, view in zip(*np.nonzero((_angles(mine, others) <= 3 * EXACT).transpose(1, 2, 0)), strict=True):
            if (factor := _factor(mine[a], others[b], int(view))) is not None:
                multiples.append(Pair(left[a], right[b], int(view), factor))
    return same, sorted(multiples, key=lambda pair: (pair.ours, pair.theirs))


def _farthest(ours: Sequence[Tensor], theirs: Sequence[Tensor], view: int) -> float:
    return max(gap(_view(a.value, view), b.value) for a, b in zip(ours, theirs, strict=True))


def _factor(ours: Sequence[Tensor], theirs: Sequence[Tensor], view: int) -> float | None:
    """What ours is to be multiplied by in every run, or None where no such number makes them the same."""
    a = np.concatenate([_view(t.value, view).ravel() for t in ours]).astype(np.float64)
    b = np.concatenate([t.value.ravel() for t in theirs]).astype(np.float64)
    if a.size < FEWEST or not np.isfinite(a @ b) or np.ptp(a) <= EXACT * np.abs(a).max():
        return None
    factor = float(a @ b) / float(a @ a)
    return factor if factor > 0 and gap(factor * a, b) <= EXACT else None


def _assigned(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], same: dict[tuple[int, int], tuple[int, float]]
) -> list[Pair]:
    """One partner for each: the nearest, of equal ones that of its name, then in the order of computation."""
    best_of_ours, best_of_theirs = _least(same, 0), _least(same, 1)
    gains = np.zeros((len(ours), len(theirs)))
    for (i, j), (_, off) in same.items():
        if off <= max(MUCH * min(best_of_ours[i], best_of_theirs[j]), ROUNDING):
            gains[i, j] = 1 + (plain_name(ours[i].name) == plain_name(theirs[j].name)) / 2
    found = aligned(gains)
    for i, j in found:
        gains[i], gains[:, j] = 0, 0
    while gains.any():
        i, j = divmod(int(gains.argmax()), gains.shape[1])
        found.append((i, j))
        gains[i], gains[:, j] = 0, 0
    return [Pair(i, j, same[i, j][0]) for i, j in found]


def _least(same: dict[tuple[int, int], tuple[int, float]], side: int) -> dict[int, float]:
    least: dict[int, float] = {}
    for pair, (_, off) in same.items():
        least[pair[side]] = min(off, least.get(pair[side], off))
    return least


def _equal_names(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Matrix:
    names = [plain_name(tensor.name) for tensor in theirs]
    return np.array([[float(plain_name(tensor.name) == name) for name in names] for tensor in ours])


def _angles(ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]]) -> Matrix:
    """[layout, ours, theirs]: relative distance that is left after the best positive factor; infinite for zeros."""
    mine, others = _samples(ours, theirs)
    norms = np.sqrt((mine**2).sum(-1)[..., None] * (others**2).sum(-1))
    cosines = np.where(norms > 0, mine @ others.T / np.where(norms > 0, norms, 1), 0)
    found: Matrix = np.where(cosines > 0, np.sqrt(np.maximum(1 - cosines**2, 0)), np.inf)
    return found


def _samples(ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]]) -> tuple[Matrix, Matrix]:
    """([layout, ours, elements], [theirs, elements]) of all runs; a layout that a tensor lacks repeats its first."""
    chosen = sampled(theirs[0][0].value.size)
    views = max(len(layouts(runs[0].value)) for runs in ours)
    mine = [[_flat([_view(t.value, view) for t in runs], chosen) for runs in ours] for view in range(views)]
    return np.array(mine), np.array([_flat([t.value for t in runs], chosen) for runs in theirs])


def _view(array: Array, number: int) -> Array:
    views = layouts(array)
    return views[number if number < len(views) else 0]


def _flat(arrays: Sequence[Array], chosen: Array) -> Matrix:
    values = np.concatenate([array.ravel()[chosen] for array in arrays]).astype(np.float64)
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)

"""The parts of an output, and how each is held against the reference: by its own magnitude, and by what varies with the input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgedl.schemes import Tolerance
from edgedl.spec import Array

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
NOISE = 32 * float(np.finfo(np.float32).eps)
"""Of the magnitude: an error so small is the noise of float arithmetic, and is never held against a file."""
CONSTANT = 8 * float(np.finfo(np.float32).eps)
"""Of the magnitude: what varies less with the input does not vary."""
HARDLY = 1e-3
"""Of the magnitude: what varies less with the input hardly varies."""
LONGEST = 4096
"""Indices of an axis that are looked at one by one."""
FAINTEST = 1e-4
"""Of the largest magnitude along an axis: fainter indices are not looked at."""


@dataclass(frozen=True)
class Joined:
    """labels: for every element of an output, the number of the part that it was joined from. lines: number -> user's line."""

    labels: Array
    lines: Mapping[int, str | None]


@dataclass(frozen=True)
class Run:
    """One output of one run. rows: its first axis holds items of a batch."""

    got: Array
    want: Array
    joined: Joined | None = None
    rows: bool = True


@dataclass(frozen=True)
class Part:
    """One output, or a part of it, over all runs.

    where: as `[:, 4:10]`; empty for the whole. line: the user's line that joined it, where it was joined.
    relative_rms: rms(got - want) / rms(want). varies: rms(want - mean over the inputs) / rms(want), elementwise; None where no
    two inputs have one shape. variation: rms(got - want), less the noise of float arithmetic, / rms(want - mean over the
    inputs); None where nothing varies. failure: one clause, empty where the part passes.
    """

    output: str
    where: str
    line: str | None
    relative_rms: float
    varies: float | None
    variation: float | None
    failure: str = ""

    @property
    def name(self) -> str:
        made = f" (joined at {self.line})" if self.line else ""
        return f"output {self.output!r}{self.where}{made}"

    @property
    def constant(self) -> bool:
        return self.varies is not None and self.varies <= CONSTANT


def judged(output: str, runs: Sequence[Run], tolerance: Tolerance) -> tuple[Part, ...]:
    """The whole output, then its parts; an output that is no float has none.

    Runs whose shape is not the reference's are left out: they have failed already.
    """
    runs = [run for run in runs if run.got.shape == run.want.shape and run.want.size]
    if not runs:
        return ()
    squares = [_squares(run, deviation) for run, deviation in zip(runs, _deviations(runs), strict=True)]
    if runs[0].want.dtype.kind != "f":
        return (replace(_part(output, squares), variation=None),)
    whole = _held(_part(output, squares), tolerance, tolerance.relative_rms)
    joined = tuple(_joined_parts(output, squares, tolerance))
    return (whole, *(joined or _by_magnitude(output, squares, tolerance)))


@dataclass(frozen=True)
class _Squares:
    """Of the error, the reference and its deviation from the mean over the inputs: those that count of one run.

    varying: None where no other input has the shape. Elements that are not finite count as nothing.
    """

    run: Run
    error: Doubles
    want: Doubles
    varying: Doubles | None

    def where(self, mask: Mask) -> _Squares:
        varying = None if self.varying is None else self.varying[mask]
        return replace(self, error=self.error[mask], want=self.want[mask], varying=varying)


def _squares(run: Run, deviation: Doubles | None) -> _Squares:
    got, want = run.got.astype(np.float64), run.want.astype(np.float64)
    finite = np.isfinite(got) & np.isfinite(want)

    def square(values: Doubles) -> Doubles:
        squared: Doubles = np.where(finite, values, 0.0) ** 2
        return squared

    with np.errstate(invalid="ignore"):
        return _Squares(run, square(got - want), square(want), None if deviation is None else square(deviation))


def _deviations(runs: Sequence[Run]) -> list[Doubles | None]:
    """Each reference less the mean of all inputs of its shape, scaled to be unbiased; None where there is one such input."""
    samples = [_samples(run) for run in runs]
    by_shape: dict[tuple[int, ...], list[Doubles]] = {}
    for array in samples:
        by_shape.setdefault(array.shape[1:], []).append(array)
    counts = {shape: sum(map(len, arrays)) for shape, arrays in by_shape.items()}
    means = {shape: sum(a.sum(axis=0) for a in arrays) / counts[shape] for shape, arrays in by_shape.items()}
    return [
        ((array - means[shape]) * np.sqrt(counts[shape] / (counts[shape] - 1))).reshape(run.want.shape)
        if counts[shape := array.shape[1:]] > 1
        else None
        for run, array in zip(runs, samples, strict=True)
    ]


def _samples(run: Run) -> Doubles:
    """[inputs, ...]: the rows of a batch are inputs of their own."""
    want = np.nan_to_num(run.want.astype(np.float64), posinf=0.0, neginf=0.0)
    return want if run.rows and want.ndim else want[None]


def _part(
    output: str, squares: Sequence[_Squares], where: str = "", line: str | None = None, scale: float | None = None
) -> Part:
    """scale: the magnitude that float noise is taken of; by default the part's own."""
    error, want = _rms([s.error for s in squares]), _rms([s.want for s in squares])
    seen = [s.varying for s in squares if s.varying is not None]
    spread = _rms(seen) if seen else None
    noise = NOISE * (want if scale is None else scale)
    varies = None if spread is None else spread / want if want else 0.0
    variation = max(error - noise, 0.0) / spread if spread and varies is not None and varies > CONSTANT else None
    return Part(output, where, line, error / want if want else error, varies, variation)


def _rms(squares: Sequence[Doubles]) -> float:
    return float(np.sqrt(sum(float(array.sum()) for array in squares) / max(1, sum(array.size for array in squares))))


def _held(part: Part, tolerance: Tolerance, allowed: float, noise: float = NOISE) -> Part:
    """The part with what closes the gate. noise: relative to the magnitude of the part."""
    if part.relative_rms > allowed + noise:
        return replace(part, failure=f"relative RMS error {part.relative_rms:.2g} is over the tolerance {allowed:.2g}")
    if part.variation is not None and part.variation > tolerance.variation:
        return replace(
            part,
            failure=f"the error is {part.variation:.2g} of what varies with the input, over the tolerance "
            f"{tolerance.variation:.2g} (what varies is {part.varies:.2g} of the magnitude)",
        )
    return part


def _joined_parts(output: str, squares: Sequence[_Squares], tolerance: Tolerance) -> Iterator[Part]:
    known = [(s, s.run.joined) for s in squares if s.run.joined and s.run.joined.labels.shape == s.run.want.shape]
    numbers = [int(number) for number in np.unique(known[-1][1].labels)] if known else []
    for number in numbers if len(numbers) > 1 else ():
        masks = [(s, joined.labels == number) for s, joined in known]
        chosen = [s.where(mask) for s, mask in masks]
        part = _part(output, chosen, _where(masks[-1][1]), known[-1][1].lines.get(number))
        yield _held(part, tolerance, tolerance.relative_rms)


def _where(mask: Mask) -> str:
    """`[:, 4:10]`: the smallest box around the elements."""
    bounds = []
    for axis, length in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        low, high = int(places[0]), int(places[-1]) + 1
        bounds.append(":" if (low, high) == (0, length) else f"{low}:{high}")
    while bounds and bounds[-1] == ":":
        bounds.pop()
    return f"[{', '.join(bounds)}]" if bounds else ""


def _by_magnitude(output: str, squares: Sequence[_Squares], tolerance: Tolerance) -> Iterator[Part]:
    """Of every axis, the indices of one decade of magnitude; of scores and probabilities none, where small means unlikely."""
    if all(_unit(s.run.want) for s in squares):
        return
    shape = squares[0].run.want.shape
    for axis in range(1 if squares[0].run.rows else 0, len(shape)):
        alike = [s for s in squares if s.run.want.shape[axis : axis + 1] == shape[axis : axis + 1]]
        yield from _decades(output, axis, alike, tolerance)


def _unit(want: Array) -> bool:
    return bool(np.min(want, initial=0) >= 0 and np.max(want, initial=0) <= 1)


def _decades(output: str, axis: int, squares: Sequence[_Squares], tolerance: Tolerance) -> Iterator[Part]:
    """The brightest decade hides nothing and is left out."""
    length = squares[0].run.want.shape[axis]
    if not 2 <= length <= LONGEST:
        return
    magnitude = _along(axis, squares)
    if not magnitude.any():
        return
    decades = np.floor(np.log10(magnitude / magnitude.max() + 1e-12))
    decades[magnitude < FAINTEST * magnitude.max()] = 0
    scale = float(np.sqrt(np.mean(magnitude**2)))
    for decade in np.unique(decades[decades < -1]):
        (places,) = np.nonzero(decades == decade)
        chosen = [s.where(_mask(places, axis, s.run.want.shape)) for s in squares]
        part = _part(output, chosen, _picked(places, axis), scale=scale)
        noise = NOISE * scale / float(np.sqrt(np.mean(magnitude[places] ** 2)))
        yield _held(part, tolerance, max(tolerance.relative_rms, tolerance.variation), noise)


def _along(axis: int, squares: Sequence[_Squares]) -> Doubles:
    """rms of the reference at every index of the axis."""
    means = [np.moveaxis(s.want, axis, 0).reshape(s.want.shape[axis], -1).mean(axis=1) for s in squares]
    magnitude: Doubles = np.sqrt(np.mean(means, axis=0))
    return magnitude


def _mask(places: npt.NDArray[np.intp], axis: int, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[(slice(None),) * axis + (places,)] = True
    return mask


def _picked(places: npt.NDArray[np.intp], axis: int) -> str:
    few = ", ".join(map(str, places[:4])) + (", ..." if len(places) > 4 else "")
    return f"[{':, ' * axis}{few if len(places) == 1 else f'({few})'}]"

"""Edge values in every proof: masks that hide all or nothing, zeros, large and negated values, extremes of integers, odd batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgedl.errors import EngineFailed, InvalidTensor
from edgedl.schemes import Scheme, Tolerance
from edgedl.spec import Array, DynamicAxes, Feeds, resize
from edgedl.task import Predict
from edgedl.verify.parity import compare
from edgedl.verify.slices import NOISE

BATCHES = (1, 2, 3, 7)
"""Numbers of rows that are tried where the batch is dynamic."""
_ROUNDING = {"float32": 2**-22, "float16": 2**-11, "bfloat16": 2**-8, "int16": 2**-15, "int8": 2**-8, "int4": 2**-4}
"""Of the magnitude: by so much a number of a dtype may be off; a few ulps of float32."""
_AMPLIFIED = 8
"""An error of up to so many times what the original itself moves by is not held against a file."""
_WRONG = 1.0
"""Of the magnitude on real inputs: a static file, whose ranges end with its calibration inputs, may be off by less."""


@dataclass(frozen=True)
class Edge:
    """One output at one edge.

    error: rms(got - want) / the larger of rms(want) and its size on real inputs; for integers the share that differ; None where
    nothing was compared. failure: one clause, empty where it passes. note: why it is not held against the file.
    """

    case: str
    output: str
    error: float | None = None
    failure: str = ""
    note: str = ""


@dataclass(frozen=True)
class EdgePlan:
    """What is tried: case -> inputs.

    rounding: of the magnitude, what the scheme rounds by. static: ranges are fixed, so only finite values are asked for beyond
    them. beyond: the cases that go beyond what real inputs hold.
    """

    cases: Mapping[str, dict[str, Array]] = field(default_factory=dict)
    beyond: frozenset[str] = frozenset()
    rounding: float = 0.0
    static: bool = False


def edge_plan(inputs: Mapping[str, Feeds], scheme: Scheme, axes: DynamicAxes, signatures: Sequence[object]) -> EdgePlan:
    """Return the edges around the smallest of the real cases that has more than one row.

    axes: dynamic ones. signatures: of a file that takes these lengths and no others, so batches are not tried.
    """
    batches = list(inputs.values())
    base = min(batches, key=lambda feeds: (_rows(feeds) < 2, sum(map(np.size, feeds.values()))))
    cases = {**_masks(base), **_floats(base), **_integers(base, batches)}
    beyond = frozenset(name for name in cases if name.startswith(("values", "integers")))
    cases |= {} if signatures else _batches(base, axes, {_rows(feeds) for feeds in batches})
    rounding = max(_ROUNDING.get(dtype, 0.0) for dtype in (scheme.weights, scheme.activations))
    return EdgePlan(cases, beyond, rounding, scheme.needs_calibration)


def _rows(feeds: Feeds) -> int:
    return max((len(array) for array in feeds.values() if np.ndim(array)), default=1)


def _of_kind(feeds: Feeds, kinds: str) -> dict[str, Array]:
    return {name: array for name, array in feeds.items() if array.dtype.kind in kinds and array.size}


def _masks(base: Feeds) -> dict[str, dict[str, Array]]:
    masks = _of_kind(base, "b")
    if not masks:
        return {}
    first = {name: array.copy() for name, array in masks.items()}
    for array in first.values():
        array[:1] = False
    return {
        "masks all False": {**base, **{name: np.zeros_like(array) for name, array in masks.items()}},
        "masks all True": {**base, **{name: np.ones_like(array) for name, array in masks.items()}},
        "masks with a first row of False": {**base, **{n: a if a.ndim else masks[n] for n, a in first.items()}},
    }


def _floats(base: Feeds) -> dict[str, dict[str, Array]]:
    floats = _of_kind(base, "f")
    changes = {"zeros": 0, "values times 8": 8, "values negated": -1} if floats else {}
    return {
        name: {**base, **{n: (a * np.asarray(factor, a.dtype)) for n, a in floats.items()}}
        for name, factor in changes.items()
    }


def _integers(base: Feeds, batches: Sequence[Feeds]) -> dict[str, dict[str, Array]]:
    """Within what the real inputs hold: other numbers may mean nothing."""
    integers = _of_kind(base, "iu")
    if not integers:
        return {}
    lowest = {n: np.full_like(a, min(b[n].min() for b in batches if b[n].size)) for n, a in integers.items()}
    highest = {n: np.full_like(a, max(b[n].max() for b in batches if b[n].size)) for n, a in integers.items()}
    return {"integers at their lowest": {**base, **lowest}, "integers at their highest": {**base, **highest}}


def _batches(base: Feeds, axes: DynamicAxes, seen: Iterable[int]) -> dict[str, dict[str, Array]]:
    batch = next((by_axis[0] for by_axis in axes.values() if 0 in by_axis), None)
    if not batch:
        return {}
    lengths = {a.name: base[n].shape[k] for n, by_axis in axes.items() for k, a in by_axis.items()}
    wanted = [rows for rows in BATCHES if batch.low <= rows <= batch.high and rows not in seen]
    return {f"{batch.name}={rows}": resize(base, axes, {**lengths, batch.name: rows}) for rows in wanted}


def judge_edges(
    plan: EdgePlan, candidate: Predict, reference: Predict, tolerance: Tolerance, magnitudes: Mapping[str, float]
) -> tuple[Edge, ...]:
    """Run every edge through both. magnitudes: output -> rms of the reference on real inputs."""
    return tuple(
        edge
        for case, feeds in plan.cases.items()
        for edge in _judge(plan, case, feeds, candidate, reference, tolerance, magnitudes)
    )


def _judge(
    plan: EdgePlan, case: str, feeds: Feeds, candidate: Predict, reference: Predict, tolerance: Tolerance,
    magnitudes: Mapping[str, float],
) -> Iterator[Edge]:  # fmt: skip
    try:
        want = reference(_copied(feeds))
    except Exception as error:  # whatever an original raises at inputs that nobody promised
        yield Edge(case, "", note=f"the original raises {type(error).__name__}")
        return
    try:
        got = candidate(_copied(feeds))
    except (EngineFailed, InvalidTensor) as error:
        yield Edge(case, "", failure=f"the file does not run, and the original does: {error}")
        return
    found = [_edge(plan, case, n, got[n], want[n], tolerance, magnitudes.get(n, 0.0)) for n in want]
    failed = {edge.output for edge in found if edge.failure and edge.error is not None}
    moved = _movement(plan, feeds, reference, want, magnitudes) if failed else {}
    for edge in found:
        yield _excused(edge, moved) if edge.output in failed else edge


def _copied(feeds: Feeds) -> dict[str, Array]:
    return {name: array.copy() for name, array in feeds.items()}


def _edge(
    plan: EdgePlan, case: str, output: str, got: Array, want: Array, tolerance: Tolerance, magnitude: float
) -> Edge:
    if got.shape != want.shape or got.dtype.kind != want.dtype.kind:
        return Edge(case, output, failure=compare(case, output, got, want, np.inf).failure)
    if not np.isfinite(want).all():
        return Edge(case, output, note="the original is not finite")
    if not np.isfinite(got).all():
        missing = got.size - int(np.isfinite(got).sum())
        return Edge(
            case, output, failure=f"{missing} of {got.size} values are not finite, and all of the original's are"
        )
    error = _error(got, want, magnitude)
    if plan.static and case in plan.beyond:
        return Edge(case, output, error)
    allowed = max(tolerance.relative_rms, _WRONG) if plan.static else tolerance.relative_rms + NOISE
    over = f"the error is {error:.2g} of the magnitude, over the tolerance {allowed:.2g}" if error > allowed else ""
    return Edge(case, output, error, over)


def _error(got: Array, want: Array, magnitude: float) -> float:
    if want.dtype.kind != "f":
        return float(np.mean(got != want)) if want.size else 0.0
    scale = max(rms(want), magnitude)
    error = rms(got.astype(np.float64) - want)
    return error / scale if scale else error


def rms(values: Array) -> float:
    """The root mean square of the finite values."""
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0


def _movement(
    plan: EdgePlan, feeds: Feeds, reference: Predict, want: Feeds, magnitudes: Mapping[str, float]
) -> dict[str, float]:
    """How far the original itself moves where its float inputs move by what the scheme rounds by; infinite where it cannot be told."""
    if not _of_kind(feeds, "f"):
        return {name: np.inf for name, array in want.items() if array.dtype.kind != "f"}
    found = dict.fromkeys(want, 0.0)
    for seed in range(2):
        try:
            moved = reference(_nudged(feeds, plan.rounding, seed))
        except Exception:  # an original that raises beside an edge says nothing there
            return dict.fromkeys(want, np.inf)
        for name, array in want.items():
            same = moved[name].shape == array.shape and bool(np.isfinite(moved[name]).all())
            found[name] = max(found[name], _error(moved[name], array, magnitudes.get(name, 0.0)) if same else np.inf)
    return found


def _nudged(feeds: Feeds, rounding: float, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    nudged = _copied(feeds)
    for name, array in _of_kind(feeds, "f").items():
        size = rounding * np.maximum(np.abs(array), rms(array) or 1.0)
        nudged[name] = (array + size * generator.choice([-1.0, 1.0], array.shape)).astype(array.dtype)
    return nudged


def _excused(edge: Edge, moved: Mapping[str, float]) -> Edge:
    movement = moved.get(edge.output, 0.0)
    if edge.error is None or edge.error > _AMPLIFIED * movement:
        return edge
    return Edge(
        edge.case, edge.output, edge.error, note="the original itself moves as much when its inputs are rounded"
    )

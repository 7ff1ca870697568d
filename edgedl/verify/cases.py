"""The inputs that an artifact is proven on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np

from edgedl.batching import fixed_batch, take_rows
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec, resize
from edgedl.task import Task

BATCHES = 8
"""Calibration batches that parity is taken on."""


def real_inputs(task: Task) -> tuple[list[dict[str, Array]], str]:
    """Inputs, and what they are: `calibration`, `example`, or `seeded` for noise."""
    if task.calibration:
        batches = [dict(feeds) for feeds in islice(task.calibration(), BATCHES)]
        if batches:
            return batches, "calibration"
    return [dict(task.example_inputs())], "seeded" if task.synthetic else "example"


def cases(
    batches: list[dict[str, Array]], axes: DynamicAxes, specs: tuple[TensorSpec, ...]
) -> dict[str, dict[str, Array]]:
    """Case name -> feeds: every dynamic axis at its low end, between and at its high end; else a few batches as written."""
    if not axes:
        return {f"batch {index}": feeds for index, feeds in enumerate(_as_written(batches, specs))}
    pool = _pooled(batches)
    named = {axis.name: axis for by_axis in axes.values() for axis in by_axis.values()}
    return {
        ", ".join(f"{name}={length}" for name, length in lengths.items()): resize(pool, axes, lengths)
        for lengths in _lengths(named)
    }


def _lengths(axes: Mapping[str, Axis]) -> Iterable[dict[str, int]]:
    for share in (0.0, 0.25, 1.0):
        yield {name: axis.low + round(share * (axis.high - axis.low)) for name, axis in axes.items()}


def _pooled(batches: list[dict[str, Array]]) -> dict[str, Array]:
    """All batches as one, where they differ in rows alone."""
    alike = [b for b in batches if all(b[n].shape[1:] == batches[0][n].shape[1:] and b[n].ndim for n in b)]
    return (
        {name: np.concatenate([batch[name] for batch in alike]) for name in batches[0]}
        if len(alike) > 1
        else batches[0]
    )


def _as_written(batches: list[dict[str, Array]], specs: tuple[TensorSpec, ...]) -> Iterable[dict[str, Array]]:
    for feeds in batches[:4]:
        yield fitted(feeds, specs)


def fitted(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """As many rows as the model takes, where it takes a fixed number."""
    batch = fixed_batch(feeds, specs)
    return dict(feeds) if batch is None else take_rows(feeds, 0, batch)

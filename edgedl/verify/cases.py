"""The inputs that an artifact is proven on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from edgedl.batching import fixed_batch, take_rows
from edgedl.errors import EdgedlError, InvalidReference, InvalidTensor
from edgedl.runtime import accept
from edgedl.source_lines import described
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec, plain, resize
from edgedl.task import Task

BATCHES = 8
"""Calibration batches that parity is taken on."""


def real_inputs(task: Task, specs: tuple[TensorSpec, ...]) -> tuple[list[dict[str, Array]], str]:
    """Inputs, and what they are: `calibration`, `example`, or `seeded` for noise. InvalidInput unless the task takes them."""
    if task.calibration and (batches := _calibration(task.calibration)):
        for feeds in batches if specs else ():
            _check(feeds, specs)
        return batches, "calibration"
    return [plain(task.example_inputs())], "seeded" if task.synthetic else "example"


def _calibration(source: Callable[[], Iterable[Feeds]]) -> list[dict[str, Array]]:
    try:
        return [plain(feeds) for feeds in islice(source(), BATCHES)]
    except EdgedlError:
        raise
    except Exception as error:
        raise InvalidReference(f"the task's calibration raised {described(error)}") from error


def _check(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> None:
    try:
        accept(fitted(feeds, specs), specs)
    except InvalidTensor as error:
        raise InvalidTensor(f"calibration inputs that the model does not take: {error}") from error


def cases(
    batches: list[dict[str, Array]],
    axes: DynamicAxes,
    specs: tuple[TensorSpec, ...],
    signatures: Sequence[Mapping[str, int]] = (),
) -> dict[str, dict[str, Array]]:
    """Case name -> feeds: the lengths of each signature, or every dynamic axis at its low end, between and at its high end.

    Without either a few batches as written.
    """
    if not axes:
        return {f"batch {index}": feeds for index, feeds in enumerate(_as_written(batches, specs))}
    pool = _pooled(batches)
    named = {axis.name: axis for by_axis in axes.values() for axis in by_axis.values()}
    return {
        ", ".join(f"{name}={length}" for name, length in lengths.items()): resize(pool, axes, lengths)
        for lengths in signatures or _lengths(named)
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

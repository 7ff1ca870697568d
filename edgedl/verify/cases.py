"""The inputs that an artifact is proven on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

import numpy as np

from edgedl.batching import fixed_batch, take_rows
from edgedl.errors import EdgedlError, InvalidInput, InvalidReference, InvalidTensor
from edgedl.runtime import accept
from edgedl.source_lines import described
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec, plain, resize
from edgedl.task import Task

BATCHES = 8
"""Calibration batches that parity is taken on."""
ROWS = 16
"""Rows of one such batch, where the user gave them and the model takes any number."""
FEWEST = 4
"""Rows of inputs from which on they tell what varies."""


def real_inputs(task: Task, specs: tuple[TensorSpec, ...]) -> tuple[list[dict[str, Array]], str]:
    """Inputs, and what they are: `calibration`, `example`, or `seeded` for noise. InvalidInput unless the task takes them."""
    if task.calibration and (batches := _calibration(task.calibration)):
        for feeds in batches if specs else ():
            _check(feeds, specs)
        return batches, "calibration"
    return [plain(task.example_inputs())], "seeded" if task.synthetic else "example"


def given_inputs(
    name: str, source: Callable[[], Iterable[Feeds]], specs: tuple[TensorSpec, ...], axes: DynamicAxes
) -> tuple[list[dict[str, Array]], str]:
    """Return the first rows that the user gave, in batches that the model takes, and what they are: `rows.npz (32 rows)`.

    Raises:
        InvalidTensor: The model does not take them.
        InvalidInput: There are none.
    """
    count = _rows_of_one_run(specs, axes)
    found = list(islice((chunk for feeds in source() for chunk in _chunks(plain(feeds), count)), BATCHES))
    if not found:
        raise InvalidInput(f"--calibration {name} holds no rows")
    try:
        batches = [accept(fitted(feeds, specs), specs) for feeds in found]
    except InvalidTensor as error:
        raise InvalidTensor(f"--calibration {name} holds inputs that the model does not take: {error}") from error
    rows = sum(map(_rows, found))
    return batches, f"{name} ({rows} {'row' if rows == 1 else 'rows'})"


def _rows_of_one_run(specs: tuple[TensorSpec, ...], axes: DynamicAxes) -> int:
    fixed = [spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], int)]
    highest = [by_axis[0].high for by_axis in axes.values() if 0 in by_axis]
    return min([*fixed, *highest, ROWS])


def _chunks(feeds: dict[str, Array], count: int) -> Iterator[dict[str, Array]]:
    """At most `count` rows each; as they are where the inputs have no rows in common."""
    rows = {len(array) if np.ndim(array) else None for array in feeds.values()}
    total = rows.pop() if len(rows) == 1 else None
    if total is None:
        yield feeds
        return
    for start in range(0, total, count):
        yield {name: array[start : start + count] for name, array in feeds.items()}


def _rows(feeds: Feeds) -> int:
    return max((len(array) for array in feeds.values() if np.ndim(array)), default=1)


def enough(
    batches: list[dict[str, Array]], kind: str, takes: Callable[[Feeds], object]
) -> tuple[list[dict[str, Array]], str]:
    """The inputs, and seeded ones of their statistics where they are too few to tell what varies with the input.

    takes: runs the original; inputs that it raises at are left out.
    """
    rows = _different(batches)
    if rows >= FEWEST:
        return batches, kind
    new = [feeds for seed in range(FEWEST - rows) if _taken(takes, feeds := _like(batches[0], seed))]
    return [*batches, *new], kind if kind == "seeded" or not new else f"{kind} and seeded"


def _different(batches: Iterable[Feeds]) -> int:
    """How many rows differ, up to FEWEST: the same row again tells nothing of what varies."""
    found = set[bytes]()
    for feeds in batches:
        for chunk in _chunks(dict(feeds), 1):
            found.add(b"".join(array.tobytes() for array in chunk.values()))
            if len(found) == FEWEST:
                return FEWEST
    return len(found)


def _taken(takes: Callable[[Feeds], object], feeds: Feeds) -> bool:
    try:
        takes(feeds)
    except Exception:  # whatever a model raises at inputs that nobody promised
        return False
    return True


def _like(feeds: Feeds, seed: int) -> dict[str, Array]:
    """Seeded values of the same range: normal for floats, uniform for integers; flags change their places."""
    generator = np.random.default_rng(seed)
    return {name: _values_like(array, generator) for name, array in feeds.items()}


def _values_like(array: Array, generator: np.random.Generator) -> Array:
    if not array.size:
        return array
    low, high = array.min(), array.max()
    if array.dtype.kind == "b":
        return generator.permutation(array.ravel()).reshape(array.shape)
    if array.dtype.kind != "f":
        return (
            generator.integers(min(1, int(low)), int(high), array.shape, endpoint=True).astype(array.dtype)
            if high > 0
            else array
        )
    if low == high:
        return (array + generator.standard_normal(array.shape) * max(1.0, abs(float(low)))).astype(array.dtype)
    return np.clip(generator.normal(array.mean(), array.std(), array.shape), low, high).astype(array.dtype)


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
    critical: Mapping[str, Iterable[int]] = MappingProxyType({}),
    *,
    given: bool = False,
) -> dict[str, dict[str, Array]]:
    """Case name -> feeds: the lengths of each signature, or every dynamic axis at its low end, between and at its high end.

    And each axis at its critical lengths (see edgedl.critical_lengths). Without axes a few batches as written.
    given: the user gave the batches, so every one is run, first, in its own lengths where they are to be proven.
    """
    if not axes:
        few = batches if given else batches[:4]
        return {f"batch {index}": fitted(feeds, specs) for index, feeds in enumerate(few)}
    pool = _pooled(batches, axes)
    named = {axis.name: axis for by_axis in axes.values() for axis in by_axis.values()}
    chosen = list(signatures or _lengths(named, critical))
    first = [resize(feeds, axes, _own_lengths(feeds, axes, signatures)) for feeds in batches] if given else []
    return {
        **{f"given rows {number}": feeds for number, feeds in enumerate(first)},
        **{
            ", ".join(f"{n}={length}" for n, length in lengths.items()): resize(pool, axes, lengths)
            for lengths in chosen
        },
    }


def _own_lengths(feeds: Feeds, axes: DynamicAxes, signatures: Sequence[Mapping[str, int]]) -> Mapping[str, int]:
    """The lengths that the feeds have, or the nearest that are to be proven."""
    if signatures:
        return signatures[-1]
    return {
        axis.name: min(max(feeds[name].shape[number], axis.low), axis.high)
        for name, by_axis in axes.items()
        for number, axis in by_axis.items()
    }


def _lengths(axes: Mapping[str, Axis], critical: Mapping[str, Iterable[int]]) -> Iterable[dict[str, int]]:
    low, between, high = (
        {name: axis.low + round(share * (axis.high - axis.low)) for name, axis in axes.items()}
        for share in (0.0, 0.25, 1.0)
    )
    yield from (low, between)
    yield from ({**between, name: length} for name in axes for length in critical.get(name, ()))
    yield high


def _pooled(batches: list[dict[str, Array]], axes: DynamicAxes) -> dict[str, Array]:
    """All batches as one, where they differ in rows alone."""
    places = _row_axes(batches[0], axes)
    shapes = [{name: _without(np.shape(batch[name]), place) for name, place in places.items()} for batch in batches]
    alike = [batch for batch, shape in zip(batches, shapes, strict=True) if shape == shapes[0]]
    if len(alike) < 2 or None in shapes[0].values():
        return batches[0]
    return {name: np.concatenate([batch[name] for batch in alike], place) for name, place in places.items()}


def _row_axes(feeds: Feeds, axes: DynamicAxes) -> dict[str, int]:
    """Input -> the number of the axis that its rows lie along: the first, unless another bears the name of the others' first.

    A state of a recurrent network is [layers, batch, hidden].
    """
    rows = next((by_axis[0].name for by_axis in axes.values() if 0 in by_axis), None)
    named = {name: [number for number, axis in axes.get(name, {}).items() if axis.name == rows] for name in feeds}
    return {name: numbers[0] if numbers else 0 for name, numbers in named.items()}


def _without(shape: tuple[int, ...], place: int) -> tuple[int, ...] | None:
    """The lengths of the other axes; None for a number without axes."""
    return (*shape[:place], *shape[place + 1 :]) if shape else None


def fitted(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """As many rows as the model takes, where it takes a fixed number."""
    batch = fixed_batch(feeds, specs)
    return dict(feeds) if batch is None else take_rows(feeds, 0, batch)

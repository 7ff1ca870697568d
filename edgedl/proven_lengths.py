"""The lengths of dynamic axes that an artifact was proven over; numpy alone, as a device checks them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from edgedl.artifact import Manifest
from edgedl.errors import InvalidTensor
from edgedl.spec import Array, DynamicAxes, Feeds

ProvenLengths = Mapping[str, tuple[int, int]]
"""axis name -> the shortest and the longest length of a proof"""


def lengths_of(cases: Iterable[Feeds], axes: DynamicAxes) -> dict[str, tuple[int, int]]:
    """The shortest and the longest length of each axis over the inputs of a proof."""
    seen: dict[str, list[int]] = {}
    for feeds in cases:
        for name, by_axis in axes.items():
            for number, axis in by_axis.items():
                seen.setdefault(axis.name, []).append(np.shape(feeds[name])[number])
    return {name: (min(lengths), max(lengths)) for name, lengths in seen.items()}


def length_check(manifest: Manifest | None) -> Callable[[Feeds], None] | None:
    """What raises InvalidTensor for inputs of a length that the artifact was not proven at; None where all lengths are fixed or unknown.

    What is no array of the right rank passes: the engine says what is wrong with it.
    """
    proven = manifest.proven if manifest else {}
    bounds = [
        (spec.name, number, dim, *proven[dim])
        for spec in (manifest.inputs if manifest else ())
        for number, dim in enumerate(spec.shape)
        if isinstance(dim, str) and dim in proven
    ]

    def check(feeds: Feeds) -> None:
        try:
            for name, number, axis, low, high in bounds:
                if not low <= feeds[name].shape[number] <= high:
                    raise _refusal(name, number, axis, feeds[name].shape[number], low, high)
        except (AttributeError, IndexError, KeyError, TypeError):
            return

    return check if bounds else None


def checked(
    invoke: Callable[[Feeds], dict[str, Array]], manifest: Manifest | None
) -> Callable[[Feeds], dict[str, Array]]:
    """`invoke` behind the check; `invoke` itself where there is nothing to check."""
    check = length_check(manifest)
    if check is None:
        return invoke

    def run(feeds: Feeds) -> dict[str, Array]:
        check(feeds)
        return invoke(feeds)

    return run


def _refusal(name: str, number: int, axis: str, length: int, low: int, high: int) -> InvalidTensor:
    wider = f"{min(low, length)}..{max(high, length)}"
    return InvalidTensor(
        f"input {name!r} has {axis}={length}, and the file is proven for {low} to {high}: "
        f"export it with --dynamic {name}:{number}={axis}:{wider}, or pass unproven=True (--unproven)"
    )

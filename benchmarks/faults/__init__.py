"""Mistakes put into finished model files, as a converter, a quantizer or a pass over the graph makes them.

Each kind is a function that lists its places in a model: what is there, and the edit that makes the mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from edgedl.spec import Array

Place = tuple[str, Callable[[], None]]
Kind = Callable[[Any], list[Place]]


def injected(
    content: bytes, kinds: Mapping[str, Kind], parse: Callable[[bytes], Any], serialize: Callable[[Any], bytes], most: int, seed: int
) -> Iterator[tuple[str, str, bytes]]:  # fmt: skip
    """(kind, place, the file with that mistake), for at most so many places of each kind, drawn by the seed."""
    generator = np.random.default_rng(seed)
    for kind, find in kinds.items():
        count = len(find(parse(content)))
        for index in sorted(generator.permutation(count)[:most]):
            model = parse(content)
            place, edit = find(model)[index]
            edit()
            yield kind, place, serialize(model)


def one_value(values: Array) -> Array:
    """The largest weight with the other sign."""
    changed = values.copy()
    index = np.abs(changed.astype(np.float64)).argmax()
    changed.flat[index] = _negative(changed.flat[index : index + 1])[0]
    return changed


def one_channel(values: Array) -> Array:
    """The first slice along the longest axis with the other sign."""
    changed = values.copy()
    channel = np.moveaxis(changed, int(np.argmax(changed.shape)), 0)
    channel[0] = _negative(channel[0])
    return changed


def swapped(values: Array) -> Array:
    """Two slices along the longest axis change places."""
    axis = int(np.argmax(values.shape))
    order = np.arange(values.shape[axis])
    order[[0, -1]] = order[[-1, 0]]
    return np.take(values, order, axis)


def _negative(values: Array) -> Array:
    if values.dtype == np.uint8:
        return np.asarray(255 - values, np.uint8)
    return np.asarray(np.clip(-values.astype(np.float64), *_limits(values))).astype(values.dtype)


def _limits(values: Array) -> tuple[float, float]:
    return (-127, 127) if values.dtype == np.int8 else (-np.inf, np.inf)

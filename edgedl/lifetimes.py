"""When the tensors of a model are alive, and the memory that they need together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALIGNMENT = 16
"""bytes; of every buffer in the arena of TensorFlow Lite Micro (MicroArenaBufferAlignment)"""


@dataclass(frozen=True)
class Buffer:
    """A tensor that is computed. size: bytes. first, last: numbers of the first and the last operator that needs it."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Lifetimes:
    """What an interpreter without an allocator has to keep, for one graph and all that it calls.

    buffers: one tuple for each subgraph. operators: names, in order. tensors: all, constants too. channels: of the weights that
    have a scale for each. variables: bytes of tensors that keep their values between runs. inputs, outputs: how many.
    """

    buffers: tuple[tuple[Buffer, ...], ...]
    operators: tuple[str, ...]
    tensors: int
    channels: int
    variables: int
    inputs: int
    outputs: int

    @property
    def activations(self) -> int:
        """Bytes of the planned part of the arena; the graphs are added up, although not all need to be alive at once."""
        return sum(planned(graph) for graph in self.buffers)


def planned(buffers: Sequence[Buffer]) -> int:
    """Bytes of an arena in which buffers that are alive at one time do not overlap.

    The greedy planner of TensorFlow Lite Micro (greedy_memory_planner.cc): the largest first, each into the first gap that is wide
    enough between those which are alive with it.
    """
    rows = sorted(((aligned(b.size), b.first, b.last) for b in buffers), key=lambda row: -row[0])
    size, first, last = np.array(rows, np.int64).reshape(-1, 3).T
    at = np.zeros(len(rows), np.int64)
    for n in range(len(rows)):
        alive = np.flatnonzero((first[:n] <= last[n]) & (first[n] <= last[:n]))
        alive = alive[np.argsort(at[alive], kind="stable")]
        at[n] = _gap(list(zip(at[alive].tolist(), size[alive].tolist(), strict=True)), int(size[n]))
    return int((at + size).max(initial=0))


def _gap(alive: Sequence[tuple[int, int]], size: int) -> int:
    """The lowest offset at which `size` bytes are free; alive: (offset, size) of what is there, by offset."""
    free = 0
    for at, taken in alive:
        if at - free >= size:
            break
        free = max(free, at + taken)
    return free


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

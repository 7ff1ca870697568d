"""Runs timed by the GPU's own events: the host's clock would time the launch of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgedl.spec import Array, Feeds

Tensors = list[torch.Tensor]


class EventTimer:
    """One module on one device; see edgedl.Session.timed.

    put: the feeds as tensors of the device. run: the module. take: its outputs as arrays. transfers: whether a run
    includes `put` and the copies of `take`.
    """

    def __init__(
        self, put: Callable[[Feeds], Tensors], run: Callable[..., Any], take: Callable[[Any], dict[str, Array]],
        transfers: bool,
    ) -> None:  # fmt: skip
        self._put, self._run, self._take, self._transfers = put, run, take, transfers
        self._there: dict[int, tuple[Feeds, Tensors]] = {}

    def timed(self, feeds: Feeds) -> tuple[int, dict[str, Array]]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        placed = None if self._transfers else self._placed(feeds)
        with torch.inference_mode():
            start.record()
            outputs = self._run(*(self._put(feeds) if placed is None else placed))
            arrays = self._take(outputs) if self._transfers else None
            end.record()
        end.synchronize()
        nanoseconds = round(start.elapsed_time(end) * 1e6)
        return nanoseconds, self._take(outputs) if arrays is None else arrays

    def _placed(self, feeds: Feeds) -> Tensors:
        """The feeds are kept with their tensors, so that their identity is theirs alone."""
        if id(feeds) not in self._there:
            self._there[id(feeds)] = (feeds, self._put(feeds))
        return self._there[id(feeds)][1]

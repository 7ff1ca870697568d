"""Runs with inputs and outputs that stay on the device: what a model takes without the copies to and from it."""

from __future__ import annotations

import time
from typing import Any

import onnxruntime

from edgedl.spec import Array, Feeds


class BoundRun:
    """One session with one io-binding, for one caller at a time. device: `cuda`, or `cpu` in tests.

    onnxruntime's Python interface has no events of the device: a run ends when its outputs are synchronized, by the host's clock.
    """

    def __init__(self, session: Any, outputs: list[str], device: str) -> None:
        self._session, self._outputs, self._device = session, outputs, device
        self._bound: dict[int, tuple[Feeds, Any]] = {}

    def timed(self, feeds: Feeds) -> tuple[int, dict[str, Array]]:
        """(nanoseconds of the run, its outputs); feeds that were seen before are on the device already."""
        binding = self._binding(feeds)
        start = time.perf_counter_ns()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        spent = time.perf_counter_ns() - start
        return spent, dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))

    def _binding(self, feeds: Feeds) -> Any:
        """The feeds are kept with their binding, so that their identity is theirs alone."""
        if id(feeds) not in self._bound:
            self._bound[id(feeds)] = (feeds, self._bind(feeds))
        return self._bound[id(feeds)][1]

    def _bind(self, feeds: Feeds) -> Any:
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device, 0))
        for name in self._outputs:
            binding.bind_output(name, self._device)
        binding.synchronize_inputs()
        return binding

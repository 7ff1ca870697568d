"""Joules of a block of work, above what the idle machine takes."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from edgedl.errors import InvalidInput, Unavailable
from edgedl.measure.energy import hwmon, nvml, powercap
from edgedl.measure.energy.counter import Counter
from edgedl.measure.energy.record import Energy

FINDERS: dict[str, tuple[Callable[[], Counter], ...]] = {
    "cpu": (powercap.find, hwmon.find),
    "cuda": (nvml.find,),
    "tensorrt": (nvml.find,),
}
"""device -> where its counter is looked for, in this order"""
SLICES = 10
"""pieces of the idle time, whose spread is the error of the idle power"""


def find_counter(device: str = "cpu") -> Counter:
    """The energy counter of a device on this machine; Unavailable, with what ails each, where there is none."""
    reasons = []
    for finder in FINDERS.get(device, ()):
        try:
            return finder()
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable(f"no energy counter for {device!r} here ({'; '.join(reasons) or 'none is known'})")


@dataclass(frozen=True)
class Idle:
    """Power of the machine when the work does not run. spread: standard deviation of its slices, in watts."""

    watts: float
    spread: float


@dataclass
class Reading:
    """energy: set when the block ends, None where nothing could be counted; `reason` then says why."""

    energy: Energy | None = None
    reason: str | None = None


@contextlib.contextmanager
def meter(device: str = "cpu", idle_seconds: float = 1.0, counter: Counter | None = None) -> Iterator[Reading]:
    """Counts the joules of the block: `with meter() as reading: work()`, then `reading.energy`.

    The idle power is taken for `idle_seconds` before the block, and subtracted. counter: None finds one. Work goes on
    without a counter, or when it fails under way: `energy` stays None and `reason` is one sentence.
    """
    if not 0 < idle_seconds < 1e6:
        raise InvalidInput(f"idle_seconds={idle_seconds}: expected more than 0")
    reading, tally = Reading(), None
    try:
        tally = Tally(counter or find_counter(device))
        tally.rest(idle_seconds)
    except Unavailable as error:
        reading.reason, tally = str(error), None
    with tally or contextlib.nullcontext():
        yield reading
    if tally:
        _settle(reading, tally)


def _settle(reading: Reading, tally: Tally) -> None:
    try:
        reading.energy = tally.energy()
    except Unavailable as error:
        reading.reason = str(error)


@dataclass
class Tally:
    """One counter over any number of blocks: `rest`, then `with tally: work()` as often as there is work, then `energy`.

    joules, seconds: of all blocks so far, idle power included. failure: why the counter was lost.
    """

    counter: Counter
    idle: Idle | None = None
    joules: float = 0.0
    seconds: float = 0.0
    blocks: int = 0
    failure: Unavailable | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def rest(self, seconds: float) -> Idle:
        """Take the idle power for so long. Unavailable if the counter is lost."""
        watts = [self._slice(seconds / SLICES) for _ in range(SLICES)]
        self.idle = Idle(float(np.mean(watts)), float(np.std(watts, ddof=1)))
        return self.idle

    def _slice(self, seconds: float) -> float:
        block = Tally(self.counter)
        with block:
            time.sleep(seconds)
        if block.failure:
            raise block.failure
        return block.joules / block.seconds

    def __enter__(self) -> Tally:
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._before, self._start = self._read(), time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.joules += self._read() - self._before
        self.seconds += time.perf_counter() - self._start
        self.blocks += 1
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        """A counter that runs over, or that tells watts only, is read all the time."""
        while not self._stop.wait(self.counter.period) and not self.failure:
            self._read()

    def _read(self) -> float:
        with self._lock:
            try:
                return self.counter.joules()
            except Unavailable as error:
                self.failure = self.failure or error
                return math.nan

    def energy(self) -> Energy:
        """Of all blocks; InvalidInput before `rest` and a block, Unavailable if the counter was lost under way."""
        if self.failure:
            raise self.failure
        if self.idle is None or not self.blocks:
            raise InvalidInput("a tally needs the idle power and a block of work before it has energy")
        ends = self.counter.delay * abs(self.joules / self.seconds) * math.sqrt(2 * self.blocks)
        error = math.hypot(ends, 2 * self.idle.spread * self.seconds)
        joules = self.joules - self.idle.watts * self.seconds
        return Energy(joules, "measured", self.counter.name, error, self.seconds, self.idle.watts)

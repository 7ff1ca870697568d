"""The measurement of a fleet."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgedl.errors import EdgedlError, EngineFailed, Interrupted, Unavailable, Unreachable
from edgedl.measure import BenchmarkRecord, Failure, FeedsOf, Measured, Plan, Subject, describe
from edgedl.measure.codec import decode
from edgedl.measure.environment import environment, finish
from edgedl.measure.harness import Progress
from edgedl.measure.journal import Journal
from edgedl.measure.runner import failure_of
from edgedl.targets.fleet.file import Device
from edgedl.targets.fleet.quarantine import Quarantine
from edgedl.targets.resolve import find

PAUSE = 2.0
"""seconds before a device that could not be reached is tried again; twice as many before the next time"""

_LOST = (Unavailable.__name__, Unreachable.__name__)
"""failures of the device, not of the model"""


@dataclass
class Fleet:
    """devices: each with the subjects that it is asked to measure. quarantine: which are skipped.

    journal: keeps each device that is done, and gives those of an earlier, interrupted run.
    """

    devices: Sequence[tuple[Device, Sequence[Subject]]]
    quarantine: Quarantine
    journal: Journal | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self, feeds_of: FeedsOf, plan: Plan, progress: Progress) -> BenchmarkRecord:
        """One record of all devices, in their order; what fails on one keeps its reason and the others finish.

        Devices on different machines are measured at the same time, those on one machine one after the other.
        """
        before, found = environment(), self._kept()
        waiting = [pair for pair in self.devices if pair[0].name not in found]
        lanes: dict[str, list[tuple[Device, Sequence[Subject]]]] = {}
        for device, subjects in waiting:
            lanes.setdefault(find(device.target).machine, []).append((device, subjects))

        def work(lane: list[tuple[Device, Sequence[Subject]]]) -> None:
            for device, subjects in lane:
                found[device.name] = self._device(device, subjects, feeds_of, plan)
                self._keep(device, found[device.name])
                progress(len(found), len(self.devices))

        with ThreadPoolExecutor(max(1, len(lanes))) as pool:
            try:
                for future in [pool.submit(work, lane) for lane in lanes.values()]:
                    future.result()
            except BaseException:
                self._stop.set()
                raise
        measured = [subject for device, _ in self.devices for subject in found[device.name]]
        counted = any(figure.unit == "J" for subject in measured for figure in subject.figures)
        reason = None if counted else "energy is counted on this machine only"
        return BenchmarkRecord(tuple(measured), plan, finish(before), no_energy=reason)

    def _device(
        self, device: Device, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan
    ) -> tuple[Measured, ...]:
        """All of its subjects, side by side; all again where it could not be reached, as often as it says.

        What is so until somebody changes it (a host key, an engine that is missing) is not tried again.
        """
        if trouble := self.quarantine.skipped().get(device.target):
            forgive = f"skipped, for {trouble.told()}; to try it again: edgedl targets --forgive {trouble.name}"
            return _failed(device, subjects, Unavailable(forgive))
        for attempt in range(device.retries + 1):
            if attempt:
                self._stop.wait(PAUSE * 2 ** (attempt - 1))
            found = self._once(device, subjects, feeds_of, plan)
            lost = [subject.failure for subject in found if subject.failure and subject.failure.kind in _LOST]
            if not lost:
                self.quarantine.worked(device.target)
                return found
            if not any(failure.kind == Unreachable.__name__ for failure in lost):
                break
        self.quarantine.failed(device.target, device.name, lost[0].message)
        return found

    def _once(self, device: Device, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan) -> tuple[Measured, ...]:
        try:
            record = find(device.target).measure(subjects, feeds_of, plan, self._go_on)
        except EdgedlError as error:
            return _failed(device, subjects, error)
        except Exception as error:  # a third party's mistake must not cost the other devices
            return _failed(device, subjects, EngineFailed(f"its plugin raised {type(error).__name__}: {error}"))
        return tuple(_named(subject, device) for subject in record.subjects)

    def _go_on(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Interrupted("interrupted")

    def _kept(self) -> dict[str, tuple[Measured, ...]]:
        entries: Sequence[Mapping[str, Any]] = self.journal.entries if self.journal else ()
        return {
            entry["device"]: tuple(decode(Measured, one, "journal") for one in entry["subjects"]) for entry in entries
        }

    def _keep(self, device: Device, measured: tuple[Measured, ...]) -> None:
        """What failed is tried again by the next run."""
        if self.journal and not any(subject.failure for subject in measured):
            with self._lock:
                self.journal.append({"device": device.name, "subjects": [asdict(subject) for subject in measured]})


def _failed(device: Device, subjects: Sequence[Subject], error: EdgedlError) -> tuple[Measured, ...]:
    failure: Failure = failure_of(error)
    return tuple(
        _named(replace(describe(subject), target=device.target, failure=failure), device) for subject in subjects
    )


def _named(subject: Measured, device: Device) -> Measured:
    return replace(subject, label=f"{subject.label} on {device.name}", device_name=device.name)

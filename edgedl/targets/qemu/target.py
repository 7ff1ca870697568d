"""The target: outputs and instruction counts of the engines' ARM64 builds."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, Unavailable, Unsupported
from edgedl.isolated import IsolatedSession
from edgedl.measure import BenchmarkRecord, FeedsOf, Figure, Measured, Plan, Subject, describe
from edgedl.measure.environment import environment, finish
from edgedl.measure.harness import Progress
from edgedl.measure.runner import failure_of, machine_of
from edgedl.place import Launch
from edgedl.runtime import Session, Source
from edgedl.targets import runner
from edgedl.targets.parity import host_parity
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu.command import guest_command
from edgedl.targets.qemu.cores import CORES, Core, core_of
from edgedl.targets.qemu.counts import TITLES, least, read
from edgedl.targets.target import Status, Target, TargetKind, Watch

RUNS = 3
"""counted runs; the one with the fewest instructions is told"""
_NO_LATENCY = "counted under emulation, in the engine's own code without the C library; it is no latency of a device"


class Guest:
    """The place of one session: an emulated process, and the file that its instructions are counted in."""

    def __init__(self, core: Core, scratch: Path) -> None:
        self.name, self.core, self.counts = f"{sysroot.NAME}:{core.name}", core, scratch / "counts"

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        if not isinstance(source, Artifact):
            raise Unsupported(
                f"{source.text} runs in PyTorch, which {self.name} has not: give an .onnx or .tflite file"
            )
        place = sysroot.sysroot()
        if not place.contents():
            raise Unavailable(f"target {self.name!r} is not set up: edgedl target setup {sysroot.NAME}")
        path = f"{runner.install(place.folder)}:{place.packages}"
        command = guest_command(place, self.core, self.counts, path, "-m", "edgedl.counting")
        yield Launch(command, str(source.path.absolute()))

    def failure(self, code: int, said: str) -> EdgedlError | None:
        return None


class QemuTarget(Target):
    """One core."""

    def __init__(self, core: Core) -> None:
        super().__init__(f"{sysroot.NAME}:{core.name}")
        self.core = core

    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Progress
    ) -> BenchmarkRecord:
        """Counts instead of timed rounds, one subject after the other; the plan's timeout alone applies."""
        before, found = environment(), []
        for done, subject in enumerate(subjects, start=1):
            found.append(self._one(subject, feeds_of, plan))
            progress(done, len(subjects))
        return BenchmarkRecord(tuple(found), plan, finish(before))

    def _one(self, subject: Subject, feeds_of: FeedsOf, plan: Plan) -> Measured:
        measured = replace(describe(subject), target=self.name)
        try:
            if subject.threads != 1:
                raise Unsupported(
                    f"instructions are counted on one thread, not on {subject.threads}: leave --threads out"
                )
            with self._session(subject, plan.timeout) as (session, guest):
                return replace(measured, **self._found(subject, session, guest, feeds_of))
        except EdgedlError as error:
            return replace(measured, failure=failure_of(error))

    @contextlib.contextmanager
    def _session(self, subject: Subject, timeout: float) -> Iterator[tuple[IsolatedSession, Guest]]:
        with tempfile.TemporaryDirectory(prefix="edgedl-qemu-") as scratch:
            guest = Guest(self.core, Path(scratch))
            session = IsolatedSession(
                subject.source, subject.runtime, subject.device, subject.threads, timeout, guest, subject.options
            )
            with contextlib.closing(session):
                yield session, guest

    def _found(self, subject: Subject, session: IsolatedSession, guest: Guest, feeds_of: FeedsOf) -> dict[str, Any]:
        inputs = feeds_of(subject, session.inputs)
        outputs = session.run(inputs.feeds)
        maps = session.ask("count", inputs.feeds, runs=RUNS)[0]["maps"]
        with guest.counts.open() as lines:
            counts = asdict(least(read(lines, maps)))
        assert isinstance(subject.source, Artifact)
        return {
            "engine": session.engine, "inputs": inputs.kind, "machine": machine_of(session),
            "input_shapes": {name: array.shape for name, array in inputs.feeds.items()},
            "figures": tuple(Figure(title, float(counts[key]), "", "counted") for key, title in TITLES.items()),
            "parity": host_parity(subject.source, inputs.feeds, outputs, subject.runtime),
            "notes": (self.core.kernels(), _NO_LATENCY),
        }  # fmt: skip

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        return _OwnedSession(source, runtime, threads, self.core)


class _OwnedSession(IsolatedSession):
    """A session that takes its scratch folder with it."""

    def __init__(self, source: Source, runtime: str, threads: int | None, core: Core) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="edgedl-qemu-")
        super().__init__(source, runtime, threads=threads or 1, place=Guest(core, Path(self._scratch.name)))

    def close(self) -> None:
        super().close()
        self._scratch.cleanup()


class QemuKind(TargetKind):
    """ARM64 without a board."""

    name = sysroot.NAME
    summary = f"emulated ARM64: parity and instruction counts ({', '.join(CORES)})"
    example = f"{sysroot.NAME}:cortex-a53"
    settings: ClassVar[Mapping[str, str]] = {"mirror": "URL of a Debian mirror"}

    def open(self, detail: str) -> Target:
        return QemuTarget(core_of(detail))

    def status(self) -> Status:
        return sysroot.status()

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        sysroot.setup(settings, watch)

    def remove(self, detail: str) -> None:
        sysroot.remove()


kind = QemuKind()

"""The target: outputs and instruction counts of the engines' builds for an emulated system."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, Unavailable, Unsupported
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
from edgedl.targets.qemu.cores import FUSED, Core
from edgedl.targets.qemu.counts import TITLES, least, read
from edgedl.targets.qemu.guests import QEMU_AARCH64, QEMU_ARMHF, Guest
from edgedl.targets.target import Status, Target, TargetKind, Watch

RUNS = 3
"""counted runs; the one with the fewest instructions is told"""
_NO_LATENCY = "counted under emulation, in the engine's own code without the C library; it is no latency of a device"


class GuestPlace:
    """The place of one session: an emulated process, and the file that its instructions are counted in."""

    def __init__(self, guest: Guest, core: Core, scratch: Path) -> None:
        self.name, self.guest, self.core, self.counts = f"{guest.name}:{core.name}", guest, core, scratch / "counts"

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        if not isinstance(source, Artifact):
            raise Unsupported(
                f"{source.text} runs in PyTorch, which {self.name} has not: give an .onnx or .tflite file"
            )
        if source.format not in self.guest.formats:
            runs = " and ".join(f".{name}" for name in sorted(self.guest.formats))
            raise Unsupported(
                f"{source.path} cannot run on {self.name}: there is no engine for {source.format} files, give a {runs} file"
            )
        place = sysroot.sysroot(self.guest)
        if not place.contents():
            raise Unavailable(f"target {self.name!r} is not set up: edgedl target setup {self.guest.name}")
        path = f"{runner.install(place.folder)}:{place.packages}"
        command = guest_command(place, self.core, self.counts, path, "-m", "edgedl.counting")
        yield Launch(command, str(source.path.absolute()))

    def failure(self, code: int, said: str) -> EdgedlError | None:
        """An instruction that the core has not is the one thing that an emulator finds and no other machine."""
        if code != -signal.SIGILL:
            return None
        why = "" if self.core.fused_multiply else f": {FUSED}"
        return EngineFailed(f"{self.name}: the engine's build executes an instruction that {self.core.name} lacks{why}")


class QemuTarget(Target):
    """One core."""

    def __init__(self, guest: Guest, core: Core) -> None:
        super().__init__(f"{guest.name}:{core.name}")
        self.guest, self.core = guest, core

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
            with self._session(subject, plan.timeout) as (session, place):
                return replace(measured, **self._found(subject, session, place, feeds_of))
        except EdgedlError as error:
            return replace(measured, failure=failure_of(error))

    @contextlib.contextmanager
    def _session(self, subject: Subject, timeout: float) -> Iterator[tuple[IsolatedSession, GuestPlace]]:
        with tempfile.TemporaryDirectory(prefix="edgedl-qemu-") as scratch:
            place = GuestPlace(self.guest, self.core, Path(scratch))
            session = IsolatedSession(
                subject.source, subject.runtime, subject.device, subject.threads, timeout, place, subject.options
            )
            with contextlib.closing(session):
                yield session, place

    def _found(
        self, subject: Subject, session: IsolatedSession, place: GuestPlace, feeds_of: FeedsOf
    ) -> dict[str, Any]:
        inputs = feeds_of(subject, session.inputs)
        outputs = session.run(inputs.feeds)
        maps = session.ask("count", inputs.feeds, runs=RUNS)[0]["maps"]
        with place.counts.open() as lines:
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
        return _OwnedSession(source, runtime, threads, self.guest, self.core)


class _OwnedSession(IsolatedSession):
    """A session that takes its scratch folder with it."""

    def __init__(self, source: Source, runtime: str, threads: int | None, guest: Guest, core: Core) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="edgedl-qemu-")
        place = GuestPlace(guest, core, Path(self._scratch.name))
        super().__init__(source, runtime, threads=threads or 1, place=place)

    def close(self) -> None:
        super().close()
        self._scratch.cleanup()


class QemuKind(TargetKind):
    """A system without a board."""

    guest: ClassVar[Guest]
    settings: ClassVar[Mapping[str, str]] = {"mirror": "URL of a Debian mirror"}

    def open(self, detail: str) -> Target:
        return QemuTarget(self.guest, self.guest.core(detail))

    def status(self) -> Status:
        return sysroot.status(self.guest)

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        sysroot.setup(self.guest, settings, watch)

    def remove(self, detail: str) -> None:
        sysroot.remove(self.guest)


def _kind(of: Guest) -> QemuKind:
    class Kind(QemuKind):
        guest, name, example = of, of.name, f"{of.name}:{of.cores[0].name}"
        summary = f"emulated {of.title}: parity and instruction counts ({', '.join(core.name for core in of.cores)})"

    return Kind()


aarch64 = _kind(QEMU_AARCH64)
armhf = _kind(QEMU_ARMHF)

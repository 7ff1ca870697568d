"""What all emulated targets share: one subject after the other, counts in place of timed rounds, held against this machine."""

from __future__ import annotations

import contextlib
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, Unsupported
from edgedl.isolated import IsolatedSession
from edgedl.measure import BenchmarkRecord, FeedsOf, Measured, Plan, Subject, describe
from edgedl.measure.environment import environment, finish
from edgedl.measure.harness import Progress
from edgedl.measure.runner import failure_of, machine_of
from edgedl.place import Place
from edgedl.runtime import Session, Source
from edgedl.spec import Feeds
from edgedl.targets.parity import host_parity
from edgedl.targets.qemu.cores import Core
from edgedl.targets.qemu.guests import GUESTS, Guest
from edgedl.targets.target import Target

RUNS = 3
"""counted runs; the one with the fewest instructions is told"""
P = TypeVar("P", bound=Place)


class EmulatedTarget(Target, Generic[P]):
    """A target whose processes are emulated: its time is no latency."""

    @abstractmethod
    def place(self, scratch: Path) -> P:
        """The place of one session, which may leave files in `scratch` while it lives."""

    @abstractmethod
    def counted(self, session: IsolatedSession, place: P, feeds: Feeds) -> dict[str, Any]:
        """What was counted, as fields of Measured; `session` has run `feeds` once."""

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
    def _session(self, subject: Subject, timeout: float) -> Iterator[tuple[IsolatedSession, P]]:
        with tempfile.TemporaryDirectory(prefix="edgedl-qemu-") as scratch:
            place = self.place(Path(scratch))
            session = IsolatedSession(
                subject.source, subject.runtime, subject.device, subject.threads, timeout, place, subject.options
            )
            with contextlib.closing(session):
                yield session, place

    def _found(self, subject: Subject, session: IsolatedSession, place: P, feeds_of: FeedsOf) -> dict[str, Any]:
        inputs = feeds_of(subject, session.inputs)
        outputs = session.run(inputs.feeds)
        counted = self.counted(session, place, inputs.feeds)
        assert isinstance(subject.source, Artifact)
        return {
            "engine": session.engine, "inputs": inputs.kind, "machine": machine_of(session),
            "input_shapes": {name: array.shape for name, array in inputs.feeds.items()},
            "parity": host_parity(subject.source, inputs.feeds, outputs, subject.runtime),
            **counted,
        }  # fmt: skip

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        return _OwnedSession(source, runtime, threads, self)


class _OwnedSession(IsolatedSession):
    """A session that takes its scratch folder with it."""

    def __init__(self, source: Source, runtime: str, threads: int | None, target: EmulatedTarget[Any]) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="edgedl-qemu-")
        super().__init__(source, runtime, threads=threads or 1, place=target.place(Path(self._scratch.name)))

    def close(self) -> None:
        super().close()
        self._scratch.cleanup()


def runnable(source: Source, guest: Guest, core: Core, name: str) -> Artifact:
    """The source, as a file; Unsupported for what runs in PyTorch, or in no engine of the guest. name: of the target."""
    runs = " or ".join(f".{fmt}" for fmt in sorted(guest.formats))
    if not isinstance(source, Artifact):
        raise Unsupported(f"{source.text} runs in PyTorch, which {name} has not: give an {runs} file")
    if source.format not in guest.formats:
        able = [other.name for other in GUESTS if source.format in other.formats and other.debian == guest.debian]
        other = f", or use --target {able[0]}:{core.name}" if able else ""
        raise Unsupported(
            f"{source.path} cannot run on {name}: there is no engine for {source.format} files, give a {runs} file{other}"
        )
    return source

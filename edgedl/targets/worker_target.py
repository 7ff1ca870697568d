"""A target of which only the place differs: the same worker, the same rounds, the same record."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.isolated import IsolatedSession
from edgedl.measure import BenchmarkRecord, FeedsOf, Plan, Subject, measure
from edgedl.measure.harness import Progress
from edgedl.measure.journal import Journal
from edgedl.place import Place
from edgedl.runtime import Session, Source
from edgedl.targets.target import Target


class WorkerTarget(Target):
    """A machine on which edgedl.worker can be started. timeout: seconds that one request of a session may take."""

    def __init__(self, place: Place, timeout: float = 600.0, machine: str = "") -> None:
        super().__init__(place.name)
        self.place, self.timeout, self.machine = place, timeout, machine

    def measure(
        self,
        subjects: Sequence[Subject],
        feeds_of: FeedsOf,
        plan: Plan,
        progress: Progress,
        journal: Journal | None = None,
    ) -> BenchmarkRecord:
        """journal: as in edgedl.measure.measure."""
        return measure(subjects, feeds_of, plan, progress, self.place, journal)

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        return IsolatedSession(source, runtime, threads=threads, timeout=self.timeout, place=self.place)

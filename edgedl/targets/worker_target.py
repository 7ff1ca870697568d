"""A target of which only the place differs: the same worker, the same rounds, the same record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgedl.isolated import IsolatedSession
from edgedl.measure import BenchmarkRecord, FeedsOf, Measured, Plan, Subject, measure
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
        """journal: as in edgedl.measure.measure. InvalidInput for a plan that the target does not take."""
        self.refuse(subjects, plan)
        record = measure(subjects, feeds_of, plan, progress, self.place, journal)
        pairs = zip(subjects, record.subjects, strict=True)
        return replace(record, subjects=tuple(self.told(subject, found, feeds_of, plan) for subject, found in pairs))

    def refuse(self, subjects: Sequence[Subject], plan: Plan) -> None:
        """Raise InvalidInput for what cannot be measured here; by default nothing is refused."""

    def told(self, subject: Subject, found: Measured, feeds_of: FeedsOf, plan: Plan) -> Measured:
        """A subject with what the target tells beside its rounds; by default nothing."""
        return found

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        return IsolatedSession(source, runtime, threads=threads, timeout=self.timeout, place=self.place)

"""A report: rows, verdict and sentences, from artifacts and a measurement; the formats are made from it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgedl.artifact import Artifact
from edgedl.comparison import Comparison
from edgedl.errors import InvalidInput
from edgedl.measure import BenchmarkRecord, Measured, Summary, remarks, verdict, warnings
from edgedl.report.matrix import Line, matrix
from edgedl.report.rows import Row, join
from edgedl.report.verdict import MAX_DROP, Choice, choose


@dataclass(frozen=True)
class Report:
    """rows: see Row. comparisons: each measured subject against the first. warnings: what makes figures doubtful.

    layers: comparisons of two models, tensor by tensor. matrix: each measured subject against every other one.
    """

    title: str
    rows: tuple[Row, ...]
    choice: Choice
    comparisons: tuple[str, ...]
    warnings: tuple[str, ...]
    record: BenchmarkRecord | None
    max_drop: float
    layers: tuple[Comparison, ...] = ()

    @functools.cached_property
    def matrix(self) -> tuple[Line, ...]:
        return matrix(self.record)

    @property
    def remarks(self) -> tuple[str, ...]:
        """How fine the measurement was, and what it cannot bear."""
        return tuple(remarks(self.record)) if self.record else ()

    @property
    def timed(self) -> tuple[tuple[Measured, Summary | None], ...]:
        """The subjects that ran, or failed to, each with its figures."""
        pairs = zip(self.record.subjects, self.record.summaries, strict=True) if self.record else ()
        return tuple(pair for pair in pairs if pair[0].rounds or pair[0].failure)

    @property
    def profiled(self) -> tuple[tuple[Measured, float | None], ...]:
        """The subjects of which a profile was taken, each with its median in nanoseconds."""
        return tuple(
            (subject, found.median_ns.value if found else None) for subject, found in self.timed if subject.profile
        )


def build(
    artifacts: Sequence[Artifact], record: BenchmarkRecord | None, max_drop: float = MAX_DROP, title: str = "",
    layers: Sequence[Comparison] = (), refused: Mapping[str, str] = MappingProxyType({}),
) -> Report:  # fmt: skip
    """refused: file name -> why it was not made.

    InvalidInput where there is nothing to report, or a file has changed since it was measured."""
    rows = join(artifacts, record)
    if not rows:
        raise InvalidInput("nothing to report: give artifacts, a folder of them, or a benchmark record")
    doubts = (
        *(warnings(record) if record else ()),
        *_failures(rows),
        *(f"{name} was refused: {why}" for name, why in refused.items()),
    )
    chosen, compared = choose(rows, max_drop), comparisons(record)
    return Report(title or _title(rows), rows, chosen, compared, doubts, record, max_drop, tuple(layers))


def comparisons(record: BenchmarkRecord | None) -> tuple[str, ...]:
    """One sentence for each timed subject against the first one that was timed in the same place."""
    timed = [subject for subject in record.finished if subject.rounds] if record else []
    first = {subject.place: subject for subject in reversed(timed)}
    mode = record.plan.mode if record else ""
    return tuple(verdict(s, first[s.place], mode) for s in timed if s is not first[s.place])


def _title(rows: tuple[Row, ...]) -> str:
    names = dict.fromkeys(row.name.split(".")[0] for row in rows if row.format != "torch")
    return ", ".join(names) or rows[0].name


def _failures(rows: tuple[Row, ...]) -> tuple[str, ...]:
    found = {row.name: row.evidence.failures for row in rows if row.evidence}
    return tuple(f"{name} is not proven: {failure}" for name, failures in found.items() for failure in failures)

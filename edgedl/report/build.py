"""A report: rows, verdict and sentences, from artifacts and a measurement; the formats are made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput
from edgedl.measure import BenchmarkRecord, verdict, warnings
from edgedl.report.rows import Row, join
from edgedl.report.verdict import MAX_DROP, Choice, choose


@dataclass(frozen=True)
class Report:
    """rows: see Row. comparisons: each measured subject against the first. warnings: what makes figures doubtful."""

    title: str
    rows: tuple[Row, ...]
    choice: Choice
    comparisons: tuple[str, ...]
    warnings: tuple[str, ...]
    record: BenchmarkRecord | None
    max_drop: float


def build(
    artifacts: Sequence[Artifact], record: BenchmarkRecord | None, max_drop: float = MAX_DROP, title: str = ""
) -> Report:
    """InvalidInput where there is nothing to report, or a file has changed since it was measured."""
    rows = join(artifacts, record)
    if not rows:
        raise InvalidInput("nothing to report: give artifacts, a folder of them, or a benchmark record")
    doubts = (*(warnings(record) if record else ()), *_failures(rows))
    return Report(title or _title(rows), rows, choose(rows, max_drop), comparisons(record), doubts, record, max_drop)


def comparisons(record: BenchmarkRecord | None) -> tuple[str, ...]:
    """One sentence for each timed subject against the first one that was timed on the same target."""
    timed = [subject for subject in record.finished if subject.rounds] if record else []
    first = {subject.target: subject for subject in reversed(timed)}
    mode = record.plan.mode if record else ""
    return tuple(verdict(s, first[s.target], mode) for s in timed if s is not first[s.target])


def _title(rows: tuple[Row, ...]) -> str:
    names = dict.fromkeys(row.name.split(".")[0] for row in rows if row.format != "torch")
    return ", ".join(names) or rows[0].name


def _failures(rows: tuple[Row, ...]) -> tuple[str, ...]:
    found = {row.name: row.evidence.failures for row in rows if row.evidence}
    return tuple(f"{name} is not proven: {failure}" for name, failures in found.items() for failure in failures)

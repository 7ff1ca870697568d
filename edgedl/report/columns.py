"""The columns of the tables, once for text, Markdown, HTML and CSV."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgedl.measure import BenchmarkRecord, Measured, Summary
from edgedl.measure.statistics import Percentile
from edgedl.report import units
from edgedl.report.rows import Row

T = TypeVar("T")
Timed = tuple[Measured, Summary | None]
HERE = "local"
"""the target that goes without saying"""


@dataclass(frozen=True)
class Column(Generic[T]):
    """cell: the text for one item. words: left-aligned text; else a number."""

    title: str
    cell: Callable[[T], str]
    words: bool = False


def report_columns(rows: tuple[Row, ...]) -> tuple[Column[Row], ...]:
    """Those of the report; the score goes by its name, threads are told where they differ; parity is the worst."""
    name = next((row.evidence.score_name for row in rows if row.evidence and row.evidence.score_name), "score")
    threads = Column[Row]("threads", lambda row: str(row.threads or units.NONE))
    return (
        Column("artifact", lambda row: row.name, words=True),
        Column("scheme", lambda row: row.scheme or units.NONE, words=True),
        Column("engine", lambda row: row.engine or "not measured", words=True),
        *([_ROW_PLACE] if any(row.place not in (None, HERE) for row in rows) else []),
        *([threads] if len({row.threads for row in rows if row.measured}) > 1 else []),
        Column("size", lambda row: units.size(row.size)),
        Column("smaller", lambda row: units.times(row.smaller)),
        Column(name, lambda row: units.number(row.score)),
        Column("drop [95 %]", _drop),
        Column("median [95 %]", _median),
        Column("peak memory", lambda row: units.size(row.measured.peak_bytes if row.measured else None)),
        Column("rel. RMS", lambda row: units.short(row.evidence.relative_rms if row.evidence else None)),
        Column("cosine", lambda row: units.number(row.evidence.cosine if row.evidence else None, 5)),
        Column("proven", _proven, words=True),
    )


def benchmark_columns(record: BenchmarkRecord) -> tuple[Column[Timed], ...]:
    """Those of `edgedl benchmark` in its mode; where it ran unless that is here, what is held on a GPU where that is known."""
    mode, gpu = record.plan.mode, any(subject.memory and subject.memory.gpu is not None for subject in record.subjects)
    who = (
        Column[Timed]("artifact", lambda timed: timed[0].source, words=True),
        Column[Timed]("engine", lambda timed: timed[0].engine or timed[0].runtime, words=True),
        *([_PLACE] if {subject.place for subject in record.subjects} - {HERE} else []),
        Column[Timed]("threads", lambda timed: str(timed[0].threads or units.NONE)),
        Column[Timed]("size", lambda timed: units.size(timed[0].size)),
    )
    return (
        *who,
        *(_COLD if mode == "cold" else (_RATE, *_WARM) if mode == "throughput" else _WARM),
        *_MEMORY,
        *([_GPU] if gpu else []),
    )


def _start(step: str) -> Callable[[Timed], str]:
    """The median over the cold starts."""

    def cell(timed: Timed) -> str:
        seconds = [getattr(start, step) for start in timed[0].starts]
        return units.duration(1e9 * statistics.median(seconds) if seconds else None)

    return cell


def _timed(timed: Timed) -> str:
    if timed[0].failure:
        return "failed"
    return units.spread(timed[1].median_ns) if timed[1] else units.NONE


def _load(timed: Timed) -> str:
    seconds = timed[0].load_seconds
    return units.duration(None if seconds is None else seconds * 1e9)


def _percentile(summary: Summary | None, level: float) -> str:
    found: Percentile | None = next((p for p in summary.percentiles if p.level == level), None) if summary else None
    return units.duration(found.value if found else None)


_PLACE = Column[Timed]("device", lambda timed: timed[0].place, words=True)
_ROW_PLACE = Column[Row]("device", lambda row: row.place or units.NONE, words=True)
_RATE = Column[Timed]("runs/s [95 %]", lambda timed: units.rate(timed[1].per_second) if timed[1] else units.NONE)
_WARM = (
    Column[Timed]("median [95 %]", _timed),
    Column[Timed]("CPU/run", lambda timed: units.duration(timed[1].cpu_ns if timed[1] else None)),
    Column[Timed]("p90", lambda timed: _percentile(timed[1], 0.9)),
    Column[Timed]("p99", lambda timed: _percentile(timed[1], 0.99)),
    Column[Timed]("first", lambda timed: units.duration(timed[0].first_ns)),
    Column[Timed]("load", _load),
)
_COLD = (
    Column[Timed]("start [95 %]", _timed),
    Column[Timed]("import", _start("imported")),
    Column[Timed]("load", _start("load")),
    Column[Timed]("first", _start("first")),
    Column[Timed]("(process)", _start("process")),
)
_MEMORY = (
    Column[Timed]("peak memory", lambda timed: units.size(timed[0].peak_bytes)),
    Column[Timed]("of the model", lambda timed: units.size(timed[0].memory.model if timed[0].memory else None)),
)

_GPU = Column[Timed]("on the GPU", lambda timed: units.size(timed[0].memory.gpu if timed[0].memory else None))


def _drop(row: Row) -> str:
    if row.drop is None:
        return units.NONE
    bounds = row.evidence.drop_interval if row.evidence else None
    interval = f" [{units.number(bounds[0])}, {units.number(bounds[1])}]" if bounds else ""
    return units.number(row.drop) + interval


def _proven(row: Row) -> str:
    if row.format == "torch":
        return "reference"
    return {True: "yes", False: "NO", None: "no evidence"}[row.proven]


def _median(row: Row) -> str:
    if row.measured and row.measured.failure:
        return "failed"
    return units.spread(row.median) if row.median else units.NONE

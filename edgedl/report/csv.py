"""The rows as CSV, in base units: bytes, nanoseconds, joules."""

from __future__ import annotations

import csv
import io
from typing import Any

from edgedl.measure import Figure, Summary
from edgedl.report.build import Report
from edgedl.report.quantities import figure_of
from edgedl.report.rows import Row

FIELDS = (
    "artifact", "format", "scheme", "engine", "threads", "size_bytes", "score", "drop", "relative_rms", "cosine",
    "proven", "median_ns", "median_low_ns", "median_high_ns", "peak_bytes", "cpu_ns", "p90_ns", "p99_ns", "device", "failure",
    *(f"{name}_{what}" for name in ("latency_ns", "energy_joules") for what in ("told", "low", "high", "how")),
)  # fmt: skip
"""What ends in `told` and so on is what a target or a counter told: latency in nanoseconds, energy of one run in joules."""


def render(report: Report) -> str:
    """One line per row; empty where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows([_guarded(value) for value in _values(row)] for row in report.rows)
    return text.getvalue()


def _values(row: Row) -> tuple[Any, ...]:
    evidence, median = row.evidence, row.median
    return (
        *(row.name, row.format, row.scheme, row.engine, row.threads, row.size, row.score, row.drop),
        *((evidence.relative_rms, evidence.cosine) if evidence else (None, None)),
        row.proven,
        *((median.value, median.low, median.high) if median else (None, None, None)),
        row.measured.peak_bytes if row.measured else None,
        *_tail(row.summary),
        row.place,
        row.measured.failure.message if row.measured and row.measured.failure else None,
        *_told(figure_of(row, "latency")),
        *_told(figure_of(row, "energy")),
    )


def _tail(summary: Summary | None) -> tuple[float | None, ...]:
    """CPU time, and the percentiles that the runs can bear."""
    if summary is None:
        return None, None, None
    values = {percentile.level: percentile.value for percentile in summary.percentiles}
    return summary.cpu_ns, values[0.9], values[0.99]


def _told(figure: Figure | None) -> tuple[float | str | None, ...]:
    return (figure.value, figure.low, figure.high, figure.how) if figure else (None,) * 4


def _guarded(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula is quoted (OWASP, "CSV Injection")."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

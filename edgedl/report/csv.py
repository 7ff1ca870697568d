"""The rows as CSV, in base units: bytes, nanoseconds."""

from __future__ import annotations

import csv
import io
from typing import Any

from edgedl.report.build import Report
from edgedl.report.rows import Row

FIELDS = (
    "artifact", "format", "scheme", "engine", "threads", "size_bytes", "score", "drop", "relative_rms", "cosine",
    "proven", "median_ns", "median_low_ns", "median_high_ns", "peak_bytes",
)  # fmt: skip


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
    )


def _guarded(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula is quoted (OWASP, "CSV Injection")."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

"""Reports: the same rows as a page, as Markdown, as CSV and as text."""

from __future__ import annotations

from edgedl.report.build import Report, build, comparisons
from edgedl.report.rows import Row, join
from edgedl.report.table import benchmark_table, report_table
from edgedl.report.verdict import Choice, choose

__all__ = [
    "Choice", "Report", "Row", "benchmark_table", "build", "choose", "comparisons", "join", "render", "report_table",
]  # fmt: skip


def render(report: Report, fmt: str) -> str:
    """The report as `html`, `markdown` or `csv`."""
    from edgedl.report.csv import render as csv
    from edgedl.report.html import render as html
    from edgedl.report.markdown import render as markdown

    return {"html": html, "markdown": markdown, "csv": csv}[fmt](report)

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
    from edgedl.report import csv, html, markdown

    return {"html": html.render, "markdown": markdown.render, "csv": csv.render}[fmt](report)

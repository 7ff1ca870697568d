"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from edgedl.report.build import Report
from edgedl.report.columns import Column, report_columns
from edgedl.report.method import environment_facts, method
from edgedl.report.table import printable

T = TypeVar("T")
_SPECIAL = "\\`*_{}[]<>#|~&"


def render(report: Report) -> str:
    """Verdict, table, comparisons, warnings, environment and method."""
    parts = [
        f"# {escape(report.title)}",
        f"**{escape(report.choice.sentence)}**",
        markdown_table(report_columns(report.rows), report.rows),
    ]
    parts += _section("Compared", report.comparisons) + _section("Warnings", report.warnings)
    if report.record:
        facts = [f"{name}: {value}" for name, value in environment_facts(report.record.environment)]
        parts += _section("Environment", facts) + _section("Method", method(report))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """The text as it is, whatever Markdown or HTML it holds."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in printable(text))


def markdown_table(columns: Sequence[Column[T]], items: Sequence[T]) -> str:
    """One line for each item."""
    head = [escape(column.title) for column in columns]
    rule = [":---" if column.words else "---:" for column in columns]
    return "\n".join(_line(cells) for cells in [head, rule, *(_cells(columns, item) for item in items)])


def _cells(columns: Sequence[Column[T]], item: T) -> list[str]:
    return [escape(column.cell(item)) for column in columns]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {escape(sentence)}" for sentence in sentences)] if sentences else []

"""Tables in plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

from edgedl.measure import BenchmarkRecord
from edgedl.report.columns import Column, benchmark_columns, report_columns
from edgedl.report.rows import Row

T = TypeVar("T")


def benchmark_table(record: BenchmarkRecord) -> str:
    """The table that `edgedl benchmark` prints."""
    return render(benchmark_columns(record), zip(record.subjects, record.summaries, strict=True))


def report_table(rows: tuple[Row, ...]) -> str:
    """The table that ends `edgedl optimize`."""
    return render(report_columns(rows), rows)


def render(columns: Sequence[Column[T]], items: Iterable[T]) -> str:
    """Aligned columns under a rule; words to the left, numbers to the right."""
    cells = [[printable(column.cell(item)) for column in columns] for item in items]
    titles = [column.title for column in columns]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    lines = [titles, ["-" * width for width in widths], *cells]
    return "\n".join(_line(columns, line, widths) for line in lines)


def printable(text: str) -> str:
    """Without control characters, which a hostile file name could send to the terminal."""
    return "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)


def _line(columns: Sequence[Column[T]], cells: list[str], widths: list[int]) -> str:
    padded = (
        cell.ljust(width) if column.words else cell.rjust(width)
        for column, cell, width in zip(columns, cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()

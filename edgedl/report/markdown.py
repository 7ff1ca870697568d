"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from edgedl.measure.plan import MODES
from edgedl.report import layers, operators
from edgedl.report.build import Report
from edgedl.report.columns import Column, benchmark_columns, report_columns
from edgedl.report.figures import basis_sentences, figure_columns, figure_sentences
from edgedl.report.matrix import columns as matrix_columns
from edgedl.report.method import environment_facts, machines, method
from edgedl.report.table import printable

T = TypeVar("T")
_SPECIAL = "\\`*_{}[]<>#|~&"


def render(report: Report) -> str:
    """Verdict and table, warnings, comparisons, figures, operators, layers, environment and method."""
    parts = [
        f"# {escape(report.title)}",
        f"**{escape(report.choice.sentence)}**",
        markdown_table(report_columns(report.rows), report.rows),
    ]
    parts += _section("Warnings", report.warnings) + _section("Compared", (*report.comparisons, *report.remarks))
    parts += [markdown_table(matrix_columns(report.matrix), report.matrix)] if report.matrix else []
    parts += [*_timings(report), *_figures(report), *_operators(report), *_layers(report)]
    if report.record:
        for title, there in machines(report.record):
            parts += _section(title, [f"{name}: {value}" for name, value in environment_facts(there)])
        parts += _section("Method", method(report))
    return "\n\n".join(parts) + "\n"


def _timings(report: Report) -> Iterator[str]:
    if report.record and report.timed:
        yield f"## Timings: {MODES[report.record.plan.mode]}"
        yield markdown_table(benchmark_columns(report.record), report.timed)


def _figures(report: Report) -> Iterator[str]:
    told = [subject for subject in report.record.subjects if subject.figures] if report.record else []
    if told and report.record:
        said = (*figure_sentences(report.record), *basis_sentences(report.record))
        yield from ("## Figures of the target", markdown_table(figure_columns(told), told), _list(said))


def _operators(report: Report) -> Iterator[str]:
    for subject, median in report.profiled:
        assert subject.profile
        yield f"## Operators of {escape(subject.label)}"
        yield markdown_table(operators.columns(subject.profile), operators.ordered(subject.profile))
        yield _list(operators.remarks(subject, median))


def _layers(report: Report) -> Iterator[str]:
    for found in report.layers:
        yield f"## Layers of {escape(found.b)} against {escape(found.a)}"
        yield escape(layers.headline(found))
        yield markdown_table(layers.columns(), found.layers)


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
    return [f"## {title}", _list(sentences)] if sentences else []


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)

"""The report as one HTML file that loads nothing: drawings are inline, the raw record is embedded."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from typing import TypeVar

from edgedl.report import charts, svg
from edgedl.report.build import Report
from edgedl.report.charts import Palette
from edgedl.report.columns import Column, report_columns
from edgedl.report.drift import drift
from edgedl.report.method import environment_facts, method
from edgedl.report.rows import Row

T = TypeVar("T")
# Nothing may be fetched, whatever a label smuggles in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render(report: Report) -> str:
    """The whole page."""
    title = html.escape(report.title)
    return page(report.title, f"<h1>{title}</h1>{_body(report)}", _raw(report))


def page(title: str, body: str, after: str = "") -> str:
    """`body` in the middle of a page that loads nothing; `after` stands below it."""
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(title)}: edgedl report</title><style>{style}</style></head><body><main>"
        f"{body}</main>{after}<script>{script}</script></body></html>\n"
    )


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """(what, value) as a list of definitions."""
    listed = "".join(f"<div><dt>{html.escape(n)}</dt><dd>{html.escape(v)}</dd></div>" for n, v in pairs)
    return f"<dl>{listed}</dl>"


def _body(report: Report) -> str:
    palette = Palette.of(report.rows)
    return "".join(
        [
            f'<p class="verdict">{html.escape(report.choice.sentence)}</p>',
            sentences("", report.warnings, "warnings"),
            table(report_columns(report.rows), report.rows, report.choice.row),
            _legend(palette),
            _charts(report.rows, palette),
            sentences("Compared", report.comparisons),
            _facts(report),
        ]
    )


def _charts(rows: tuple[Row, ...], palette: Palette) -> str:
    drawn = (
        ("Median latency", charts.latency(rows, palette)),
        ("Score against latency", charts.pareto(rows, palette)),
        ("Latency distributions", charts.distributions(rows, palette)),
        ("File sizes", charts.sizes(rows)),
        ("Drift over the steps of a stream", drift(rows)),
    )
    figures = (f"<figure><figcaption>{title}</figcaption>{drawing}</figure>" for title, drawing in drawn if drawing)
    return f'<section class="charts">{"".join(figures)}</section>'


def _legend(palette: Palette) -> str:
    """Shape and colour of each engine."""
    entries = (
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true">{svg.mark(8, 8, place, name)}</svg>{html.escape(name)}</li>'
        for place, name in enumerate(palette.engines)
    )
    return f'<ul class="legend">{"".join(entries)}</ul>' if palette.engines else ""


def table(columns: Sequence[Column[T]], items: Sequence[T], chosen: T | None) -> str:
    """One line for each item; the chosen one is marked."""
    head = "".join(f'<th scope="col"{_kind(column)}>{_cell(column.title)}</th>' for column in columns)
    body = "".join(_line(columns, item, item is chosen) for item in items)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _line(columns: Sequence[Column[T]], item: T, chosen: bool) -> str:
    cells = [f"<td{_kind(column)}>{_cell(column.cell(item))}</td>" for column in columns]
    badge = ' <span class="badge">ship this</span>' if chosen else ""
    cells[0] = f'<th scope="row">{html.escape(columns[0].cell(item))}{badge}</th>'
    return f"<tr{' class=chosen' if chosen else ''}>{''.join(cells)}</tr>"


def _cell(words: str) -> str:
    """An interval goes below its figure."""
    figure, bracket, interval = words.partition(" [")
    below = f"<br><small>[{html.escape(interval)}</small>" if bracket else ""
    return html.escape(figure) + below


def _kind(column: Column[T]) -> str:
    return "" if column.words else ' class="number"'


def sentences(title: str, sentences: Sequence[str], kind: str = "") -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return (f"<h2>{title}</h2>" if title else "") + f'<ul class="{kind}">{items}</ul>'


def _facts(report: Report) -> str:
    if report.record is None:
        return ""
    there = facts(environment_facts(report.record.environment))
    return f"<h2>Environment</h2>{there}" + sentences("Method", method(report))


def _raw(report: Report) -> str:
    """The record inside a script of no executable type; `<` is escaped so that no text in it can end it."""
    if report.record is None:
        return ""
    data = report.record.to_json().replace("<", "\\u003c")
    link = '<p class="raw"><a id="download" href="#raw" download="record.json">Download the raw samples (JSON)</a></p>'
    return f'{link}<script type="application/json" id="raw">{data}</script>'

"""What pages are made of: one HTML file that loads nothing, tables, lists, drawings and downloads."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from typing import TypeVar

from edgedl.report.columns import Column

T = TypeVar("T")
# Nothing may be fetched, whatever a label smuggles in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


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


def download(name: str, data: str, words: str) -> str:
    """A link that saves the JSON text, which is embedded in a script of no executable type; a `<` in it could end that."""
    embedded = data.replace("<", "\\u003c")
    link = f'<a class="download" href="#{name}" download="{name}">{html.escape(words)}</a>'
    return f'<p class="raw">{link}</p><script type="application/json" id="{name}">{embedded}</script>'


def drawn(title: str, body: str) -> str:
    """A drawing and what belongs to it, under a title."""
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{body}</figure>"


def folded(title: str, body: str, unfolded: bool = False) -> str:
    """What can be folded away; on demand only, unless it is unfolded at first."""
    return f"<details{' open' * unfolded}><summary>{html.escape(title)}</summary>{body}</details>"

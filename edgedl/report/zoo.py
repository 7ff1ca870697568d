"""The page of the whole zoo, as HTML and as Markdown from the same entries, and the entries as JSON."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edgedl import strict_json
from edgedl.measure.energy import Energy
from edgedl.report import units
from edgedl.report.columns import Column
from edgedl.report.footprint import energy_told
from edgedl.report.markdown import escape, markdown_table
from edgedl.report.markup import page, sentences, table
from edgedl.zoo_report import ZooEntry, ZooRow

TITLE = "The zoo, carried through"


@dataclass(frozen=True)
class Line:
    """One artifact of one task."""

    entry: ZooEntry
    row: ZooRow


COLUMNS: tuple[Column[Line], ...] = (
    Column("task", lambda line: line.entry.task, words=True),
    Column("artifact", lambda line: line.row.name, words=True),
    Column("engine", lambda line: line.row.engine or "not measured", words=True),
    Column("size", lambda line: units.size(line.row.size)),
    Column("score", lambda line: f"{line.entry.score} {units.number(line.row.score)}", words=True),
    Column("drop", lambda line: units.number(line.row.drop)),
    Column("median [95 %]", lambda line: units.spread(line.row.median) if line.row.median else units.NONE),
    Column("energy per run", lambda line: _joules(line.row.energy)),
    Column("proven", lambda line: {True: "yes", False: "NO", None: "reference"}[line.row.proven], words=True),
)
TASKS: tuple[Column[ZooEntry], ...] = (
    Column("task", lambda entry: entry.task, words=True),
    Column("what", lambda entry: entry.description, words=True),
    Column("licence of the data", lambda entry: entry.licence, words=True),
    Column("training", lambda entry: entry.failure or entry.training.partition(": ")[2], words=True),
    Column("energy of the training", lambda entry: entry.energy or units.NONE, words=True),
)


def _joules(energy: Energy | None) -> str:
    return energy_told(energy) if energy else units.NONE


def pages(entries: tuple[ZooEntry, ...]) -> dict[str, str]:
    """The files by name."""
    data = strict_json.dumps({"kind": "edgedl-zoo", "tasks": [asdict(entry) for entry in entries]})
    return {"zoo.html": render_html(entries), "zoo.md": render_markdown(entries), "zoo.json": data + "\n"}


def lines(entries: Sequence[ZooEntry]) -> list[Line]:
    return [Line(entry, row) for entry in entries for row in entry.rows]


def sections(entries: Sequence[ZooEntry]) -> list[tuple[str, list[str]]]:
    """(title, sentences)."""
    return [
        ("What to ship", [f"{entry.task}: {entry.verdict}" for entry in entries if entry.verdict]),
        ("Energy not measured", sorted({entry.no_energy for entry in entries if entry.no_energy})),
        ("Not made", [f"{entry.task}: {why}" for entry in entries for why in entry.refused]),
        ("Failed", [f"{entry.task}: {entry.failure}" for entry in entries if entry.failure]),
    ]


def render_markdown(entries: Sequence[ZooEntry]) -> str:
    parts = [f"# {TITLE}", markdown_table(TASKS, entries), markdown_table(COLUMNS, lines(entries))]
    for title, told in sections(entries):
        parts += [f"## {title}", "\n".join(f"- {escape(sentence)}" for sentence in told)] if told else []
    return "\n\n".join(parts) + "\n"


def render_html(entries: Sequence[ZooEntry]) -> str:
    told = "".join(sentences(title, told) for title, told in sections(entries))
    tables = f"{table(TASKS, entries, None)}<h2>Artifacts</h2>{table(COLUMNS, lines(entries), None)}"
    return page(TITLE, f"<h1>{html.escape(TITLE)}</h1>{tables}{told}")

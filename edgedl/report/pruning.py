"""A pruning as tables and a drawing: how much each layer matters, and what became of it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgedl.measure.summary import between, is_faster, is_slower, times
from edgedl.report import svg, units
from edgedl.report.charts import LEFT, RIGHT, WIDTH
from edgedl.report.columns import Column
from edgedl.report.markup import page, table

if TYPE_CHECKING:
    from edgedl.measure import Estimate
    from edgedl.pruning.outcome import LayerRow, Pruned

STEP, TOP = 34.0, 6.0
LONGEST = 44
WHOLE = 1.0
"""An error of the outputs' own size: more says no more, and is drawn as this."""


@dataclass(frozen=True)
class Comparison:
    """One figure, before and after, in words."""

    what: str
    before: str
    after: str
    left: str


def headline(found: Pruned) -> str:
    """What is left, how much faster it is, and what was lost."""
    macs = found.after.macs / found.before.macs if found.before.macs else 1.0
    size = found.after.size / found.before.size
    score = f", {found.score.name} {found.score.value:.4g} (drop {found.score.drop:.2g})" if found.score else ""
    return f"{found.artifact.path}: {macs:.0%} of the MACs, {size:.0%} of the bytes, {_speed(found.gain)}{score}"


def _speed(gain: Estimate) -> str:
    if is_slower(gain):
        return f"SLOWER: {times(gain)} as fast ({between(gain)})"
    if is_faster(gain):
        return f"{times(gain)} as fast ({between(gain)})"
    return f"no faster that could be seen ({between(gain)})"


def comparisons(found: Pruned) -> tuple[Comparison, ...]:
    before, after = found.before, found.after
    rows = [
        Comparison("MACs", _count(before.macs), _count(after.macs), _share(after.macs, before.macs)),
        Comparison("parameters", _count(before.parameters), _count(after.parameters), _share(after.parameters, before.parameters)),
        Comparison("file", units.size(before.size), units.size(after.size), _share(after.size, before.size)),
        Comparison("file, packed", units.size(before.packed), units.size(after.packed), _share(after.packed, before.packed)),
        Comparison(
            "latency", _milliseconds(before.milliseconds), _milliseconds(after.milliseconds),
            f"{1 / found.gain.value:.0%}",
        ),
        Comparison("zeros", f"{before.zeros:.0%}", f"{after.zeros:.0%}", ""),
    ]  # fmt: skip
    if found.score:
        rows.append(Comparison(found.score.name, f"{found.score.reference:.4g}", f"{found.score.value:.4g}", ""))
    return tuple(rows)


def _count(value: int) -> str:
    return f"{value:,}"


def _share(after: float, before: float) -> str:
    return f"{after / before:.0%}" if before else ""


def _milliseconds(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} ms ({estimate.low:.3g} to {estimate.high:.3g})"


def comparison_columns() -> tuple[Column[Comparison], ...]:
    return (
        Column("", lambda row: row.what, words=True),
        Column("original", lambda row: row.before),
        Column("pruned", lambda row: row.after),
        Column("left", lambda row: row.left),
    )


def layer_columns() -> tuple[Column[LayerRow], ...]:
    return (
        Column("layer", lambda row: units.cut(row.name or "(itself)", LONGEST), words=True),
        Column("units", lambda row: str(row.before)),
        Column("kept", lambda row: str(row.after)),
        Column("error at 25 %", lambda row: error(row.errors[0])),
        Column("50 %", lambda row: error(row.errors[1])),
        Column("75 %", lambda row: error(row.errors[2])),
    )


def error(value: float) -> str:
    return f"{value:.3f}" if value < 1e9 else "not finite"


def drawing(rows: tuple[LayerRow, ...]) -> str:
    """For each layer the error of the outputs when half of it goes, and how much of it was kept."""
    bottom = TOP + STEP * len(rows)
    scale = svg.Scale(0, max([0.05, *(min(row.errors[1], WHOLE) for row in rows)]), LEFT, RIGHT)
    body = svg.axis_below(scale, bottom, "error of the outputs when half of the layer goes (alone)", units.number, 2)
    for number, row in enumerate(rows):
        y = TOP + STEP * number
        body += svg.text(LEFT, y + 12, units.cut(row.name or "(itself)", LONGEST), "label")
        body += svg.text(RIGHT, y + 12, f"{row.after} of {row.before} kept", "figure", "end")
        body += svg.bar(LEFT, y + 18, scale(min(row.errors[1], WHOLE)) - LEFT, 8, "size")
    return svg.figure(WIDTH, bottom + 42, "Sensitivity of each layer", body)


def render(found: Pruned) -> str:
    """A page that loads nothing."""
    rows = found.rows()
    body = f'<h1>Pruned</h1><p class="verdict">{html.escape(headline(found))}</p>'
    body += table(comparison_columns(), comparisons(found), None)
    if rows:
        body += f"<h2>Layers</h2><figure>{drawing(rows)}</figure>{table(layer_columns(), rows, None)}"
    lines = [f"{name or '(itself)'} was left whole: {why}" for name, why in found.locked.items()] + list(found.notes)
    body += "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return page("Pruned", body)

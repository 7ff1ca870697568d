"""A comparison as a drawing: one bar for each tensor, in the order of computation."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from edgedl.comparison import sqnr_word
from edgedl.report import svg, units
from edgedl.report.charts import LEFT, RIGHT, WIDTH
from edgedl.report.columns import Column
from edgedl.report.markup import page, table

if TYPE_CHECKING:
    from edgedl.comparison import Comparison, Layer

STEP, TOP = 30.0, 6.0
EXACT_DB = 140.0
"""Where float32 rounding is; more, and no noise at all, is drawn as this."""
LONGEST = 44


def columns() -> tuple[Column[Layer], ...]:
    return (
        Column("tensor", lambda layer: short_name(layer.name), words=True),
        Column("SQNR dB", lambda layer: decibels(layer.sqnr_db)),
        Column("cosine", lambda layer: units.number(layer.cosine, 5)),
        Column("shape", shape),
        Column("values", values),
        Column("made at", lambda layer: units.cut(layer.line or units.NONE, LONGEST), words=True),
        Column("there", there, words=True),
    )


def short_name(name: str) -> str:
    """The last of the parts that converters join by `;`, from its end."""
    return units.cut(name.split(";")[0] or name, LONGEST)


def shape(layer: Layer) -> str:
    return "x".join(map(str, layer.shape)) or "scalar"


def values(layer: Layer) -> str:
    """The range of the first side: `-1.2 to 3.4`."""
    return f"{layer.low:.3g} to {layer.high:.3g}"


def there(layer: Layer) -> str:
    """The tensor's name on the other side, and the constant that an exporter folded into it: `scores, times 0.5`."""
    name = short_name(layer.other) if layer.other != layer.name else "same"
    return name if layer.factor == 1 else f"{name}, times {units.number(layer.factor)}"


def _told(layer: Layer) -> str:
    """The layer's line of the table, in words."""
    return ", ".join(f"{column.title} {column.cell(layer)}" for column in columns())


def decibels(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else sqnr_word(value)


def headline(comparison: Comparison) -> str:
    """What was compared, and its worst tensor."""
    against = f"{comparison.b} against {comparison.a} on {comparison.inputs} inputs ({comparison.runs} runs)"
    if not comparison.layers:
        return f"{against}: no tensor of one is one of the other"
    worst = comparison.worst_first[0]
    where = f" (made at {worst.line})" if worst.line else ""
    return f"{against}: worst is {short_name(worst.name)}{where}, SQNR {decibels(worst.sqnr_db)} dB, cosine {worst.cosine:.4f}"


def drawing(layers: Sequence[Layer]) -> str:
    """Horizontal bars of the SQNR: the longer, the closer."""
    bottom = TOP + STEP * len(layers)
    scale = svg.Scale(0, max([20.0, *(_drawn(layer) for layer in layers)]), LEFT, RIGHT)
    body = svg.axis_below(scale, bottom, "SQNR in dB (longer is closer)", lambda v: f"{v:.0f}", 2)
    for number, layer in enumerate(layers):
        y = TOP + STEP * number
        body += svg.text(LEFT, y + 12, units.cut(f"{short_name(layer.name)}  {shape(layer)}", LONGEST), "label")
        body += svg.text(RIGHT, y + 12, decibels(layer.sqnr_db), "figure", "end")
        body += svg.told(_told(layer), svg.bar(LEFT, y + 17, scale(_drawn(layer)) - LEFT, 7, "size"))
    return svg.figure(WIDTH, bottom + 42, "SQNR of each tensor", body)


def render(comparison: Comparison, suffix: str) -> str:
    """A page that loads nothing (.html), or the drawing alone (.svg)."""
    picture = drawing(comparison.layers)
    if suffix == ".svg":
        style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
        return picture.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH:.0f}" ', 1).replace(
            "<title>", f"<style>{html.escape(style, quote=False)}</style><title>", 1
        )
    body = (
        f'<h1>Compared</h1><p class="verdict">{html.escape(headline(comparison))}</p>'
        f"{table(columns(), comparison.worst_first, None)}"
        f"<h2>In the order of computation</h2><figure>{picture}</figure>"
    )
    return page("Compared", body)


def _drawn(layer: Layer) -> float:
    return 0.0 if math.isnan(layer.sqnr_db) else min(max(layer.sqnr_db, 0.0), EXACT_DB)

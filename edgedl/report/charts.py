"""Plots of a report that are a list of rows drawn on one scale.

They are 420 units wide, so that they can be read on a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgedl.measure.summary import arrays
from edgedl.report import svg, units
from edgedl.report.quantities import quantities, told
from edgedl.report.rows import Row

WIDTH, LEFT, RIGHT, STEP = 420.0, 10.0, 410.0, 44.0


@dataclass(frozen=True)
class Palette:
    """One place (colour and shape) per engine, the same in all plots."""

    engines: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Palette:
        return cls(tuple(dict.fromkeys(row.engine for row in rows if row.engine)))

    def place(self, row: Row) -> int:
        return self.engines.index(row.engine) if row.engine else len(self.engines)


def latency(rows: Sequence[Row], palette: Palette) -> str:
    """Medians and their intervals."""
    timed = [row for row in rows if row.summary]
    if not timed:
        return ""
    known = quantities(rows)
    ends = [end for row in timed if row.median for end in (row.median.low, row.median.high)]
    scale = value_scale(ends)

    def draw(row: Row, y: float) -> str:
        assert row.median
        kind = f"w{palette.place(row) % svg.COLOURS}"
        whisker = svg.line(scale(row.median.low), y, scale(row.median.high), y, kind)
        return whisker + svg.mark(scale(row.median.value), y, palette.place(row), told(row, known))

    return _rows("Median latency", timed, draw, scale, "median wall time per run, with 95 % interval", _median_words)


def distributions(rows: Sequence[Row], palette: Palette) -> str:
    """What share of the runs took no longer than x: one curve per row, each on a baseline of its own."""
    timed = [row for row in rows if row.summary]
    if not timed:
        return ""
    pooled = [np.sort(np.concatenate(arrays(row.measured))) for row in timed if row.measured]
    curves = {id(row): samples for row, samples in zip(timed, pooled, strict=True)}
    scale = value_scale([float(np.quantile(s, share)) for s in pooled for share in (0.005, 0.995)])
    draw = lambda row, y: svg.told(_percentiles(row), _curve(curves[id(row)], scale, y, palette.place(row)))  # noqa: E731
    title = "wall time per run; height: share of runs that took no longer"
    return _rows("Latency distributions", timed, draw, scale, title, _tail_words, step=62)


def sizes(rows: Sequence[Row]) -> str:
    """Bytes of each file, once."""
    files = [row for row in {row.name: row for row in rows}.values() if row.size]
    if not files:
        return ""
    scale = svg.Scale(0, max(row.size or 0 for row in files) * 1.02, LEFT, RIGHT)
    draw = lambda row, y: svg.told(  # noqa: E731
        f"{row.name}: {row.size:,} bytes", svg.bar(LEFT, y - 6, scale(row.size) - LEFT, 12, "size")
    )
    return _rows("File sizes", files, draw, scale, "size of the model file", _size_words, units.size, str_name)


def _rows(
    title: str, rows: Sequence[Row], draw: Callable[[Row, float], str], scale: svg.Scale, axis: str,
    words: Callable[[Row], str], tick: Callable[[float], str] | None = None,
    name: Callable[[Row], str] | None = None, step: float = STEP,
) -> str:  # fmt: skip
    """Rows one below the other: name to the left and figure to the right, above what `draw` puts at a height."""
    bottom = 6 + step * len(rows)
    body = svg.axis_below(scale, bottom, axis, tick or units.tick, 2)
    for number, row in enumerate(rows):
        base = 6 + step * number
        figure = words(row)
        room = int((RIGHT - LEFT) / svg.CHARACTER) - len(figure) - 2
        body += svg.text(LEFT, base + 12, units.cut((name or row_name)(row), room), "label")
        body += svg.text(RIGHT, base + 12, figure, "figure", "end") + draw(row, base + step - 14)
    return svg.figure(WIDTH, bottom + 42, title, body)


def row_name(row: Row) -> str:
    return row.title.replace(" threads", " thr.")


def str_name(row: Row) -> str:
    return row.name


def _curve(samples: np.ndarray, scale: svg.Scale, y: float, place: int) -> str:
    """The distribution function from the 0.5 to the 99.5 percentile, and a tick at the median."""
    shares = np.linspace(0.005, 0.995, 100)
    points = [(scale(float(q)), y + 10 - 30 * s) for q, s in zip(np.quantile(samples, shares), shares, strict=True)]
    middle = scale(float(np.median(samples)))
    base = svg.line(LEFT, y + 10, RIGHT, y + 10, "grid")
    tick = svg.line(middle, y + 10, middle, y - 5, "median")
    return base + tick + svg.path(points, f"w{place % svg.COLOURS} curve")


def value_scale(
    values: Sequence[float], start: float = LEFT + 8, end: float = RIGHT - 8, margin: float = 1.08
) -> svg.Scale:
    """Logarithmic where the values span more than a factor of three, else linear and not from zero."""
    low, high = min(values), max(values)
    if high > 3 * low > 0:
        return svg.Scale(low / margin, high * margin, start, end, log=True)
    room = max((high - low) * (margin - 1), low * 0.02)
    return svg.Scale(max(low - room, 0.0), high + room, start, end)


def _median_words(row: Row) -> str:
    return units.spread(row.median) if row.median else units.NONE


def _tail_words(row: Row) -> str:
    if not row.summary:
        return units.NONE
    p99 = row.summary.percentiles[-1]
    tail = f", p99 {units.duration(p99.value)}" if p99.value is not None else ""
    return f"p50 {units.duration(row.summary.median_ns.value)}{tail}"


def _size_words(row: Row) -> str:
    return units.size(row.size)


def _percentiles(row: Row) -> str:
    """All that may be given, and from which number of runs on the others may."""
    found = row.summary.percentiles if row.summary else ()
    each = (f"p{100 * p.level:.3g} {units.duration(p.value) if p.value else f'needs {p.needed} runs'}" for p in found)
    return f"{row.title}: {', '.join(each)}"

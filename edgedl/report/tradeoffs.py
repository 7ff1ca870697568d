"""One quantity against another, for every pair that is known: which artifacts no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, takewhile

from edgedl.report import svg, units
from edgedl.report.charts import RIGHT, WIDTH, Palette, value_scale
from edgedl.report.labels import Box, place
from edgedl.report.quantities import Quantity, quantities, told
from edgedl.report.rows import Row

TOP, LEFT, LONGEST = 34.0, 66.0, 26


@dataclass(frozen=True)
class Tradeoff:
    """title: `accuracy against file size`. drawing: the plot."""

    title: str
    drawing: str


def tradeoffs(rows: Sequence[Row], palette: Palette) -> tuple[Tradeoff, ...]:
    """A plot for each pair of quantities that are known together of two rows or more; the score's come first."""
    known = quantities(rows)
    pairs = ((up, across, _both(rows, up, across)) for up, across in combinations(known, 2))
    return tuple(
        Tradeoff(f"{up.name} against {across.name}", _plot(up, across, both, known, palette))
        for up, across, both in pairs
        if len(both) > 1
    )


def front(rows: Sequence[Row], up: Quantity, across: Quantity) -> list[Row]:
    """The rows that no other one beats in one quantity without losing in the other, the best of `across` first."""
    ordered = sorted(rows, key=lambda row: (_cost(across, row), _cost(up, row)))
    kept: list[Row] = []
    for row in ordered:
        if not kept or _cost(up, row) < _cost(up, kept[-1]):
            kept.append(row)
    return kept


def _cost(quantity: Quantity, row: Row) -> float:
    value = quantity.value(row)
    assert value is not None
    return -value if quantity.higher else value


def _both(rows: Sequence[Row], *needed: Quantity) -> list[Row]:
    return [row for row in rows if all(quantity.value(row) is not None for quantity in needed)]


def _plot(up: Quantity, across: Quantity, rows: Sequence[Row], known: Sequence[Quantity], palette: Palette) -> str:
    bottom = max(220.0, 60 + 22.0 * len(rows))
    x = value_scale([_value(across, row) for row in rows], LEFT, RIGHT - 6, 1.35)
    y = _vertical(up, [_value(up, row) for row in rows], bottom)
    body = svg.axis_left(y, LEFT, up.axis, _ticks(up, y), RIGHT)
    body += svg.axis_below(x, bottom, across.axis, across.tick, TOP)
    body += _staircase([(x(_value(across, row)), y(_value(up, row))) for row in front(rows, up, across)])
    points = [(x(_value(across, row)), y(_value(up, row))) for row in rows]
    marks = zip(rows, points, strict=True)
    body += "".join(svg.mark(*point, palette.place(row), told(row, known)) for row, point in marks)
    body += _labels(rows, points, Box(LEFT + 4, TOP, RIGHT + 12, bottom))
    return svg.figure(WIDTH, bottom + 42, f"{up.name} against {across.name}", body)


def _value(quantity: Quantity, row: Row) -> float:
    return quantity.value(row) or 0.0


def _vertical(up: Quantity, values: Sequence[float], bottom: float) -> svg.Scale:
    """Of a score around the values; of anything else as on a horizontal axis."""
    if not up.higher:
        return value_scale(values, bottom - 8, TOP + 8, 1.35)
    room = max((max(values) - min(values)) * 0.25, 0.002)
    return svg.Scale(min(values) - room, max(values) + room, bottom, TOP)


def _ticks(up: Quantity, scale: svg.Scale) -> svg.Label:
    """A score needs as many decimals as tell its ticks apart."""
    if not up.higher:
        return up.tick
    places = 4 if scale.high - scale.low < 0.02 else 3 if scale.high - scale.low < 10 else 1
    return lambda value: units.number(value, places)


def _staircase(points: Sequence[tuple[float, float]]) -> str:
    """The border of what is reached: along from each point to the next one, and then up or down to it."""
    if len(points) < 2:
        return ""
    corners = [(x, y) for (_, y), (x, _) in pairwise(points)]
    steps = [*(step for pair in zip(points, corners, strict=False) for step in pair), points[-1]]
    return svg.path(steps, "front")


def _labels(rows: Sequence[Row], points: Sequence[tuple[float, float]], bounds: Box) -> str:
    texts = [units.cut(name, LONGEST) for name in apart([_short_name(row) for row in rows])]
    boxes = place(points, texts, bounds)
    leaders = (_leader(point, box) for point, box in zip(points, boxes, strict=True))
    names = (svg.text(box.left + 1, box.bottom - 3, words, "label") for box, words in zip(boxes, texts, strict=True))
    return "".join([*leaders, *names])


def apart(names: Sequence[str]) -> list[str]:
    """Names that would be too long, without the parts (up to a dot) that they all begin with."""
    if len(set(names)) < 2 or max(map(len, names)) <= LONGEST:
        return list(names)
    parts = [name.split(".") for name in names]
    shared = sum(
        1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*(own[:-1] for own in parts), strict=False))
    )
    return ["\u2026" * bool(shared) + ".".join(own[shared:]) for own in parts]


def _leader(point: tuple[float, float], box: Box) -> str:
    """A line from a point to a label that does not stand right beside it."""
    x, y = point
    near = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    return svg.line(x, y, *near, "leader") if abs(near[0] - x) + abs(near[1] - y) > 10 else ""


def _short_name(row: Row) -> str:
    threads = f", {row.threads} thr." if (row.threads or 1) > 1 else ""
    return f"{row.name}{threads}"

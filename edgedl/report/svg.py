"""Scales, axes and marks as SVG text. All text is escaped here; colours are CSS classes (`c0` to `c5`)."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass

Label = Callable[[float], str]
"""a value as it stands on an axis"""
COLOURS = 6
"""how many colour classes there are; the shape tells engines apart without them"""
CHARACTER = 6.6
"""width of a character of the 12-unit font, on the safe side"""


@dataclass(frozen=True)
class Scale:
    """From values in [low, high] to positions in [start, end]; logarithmic where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the scale, about five."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def _linear_ticks(low: float, high: float) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        every = -(-len(powers) // 6) if factors == (1,) else 1
        found = [f * 10.0**p for p in powers[::every] for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 3:
            return found
    return _linear_ticks(low, high)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" rx="2" class="{kind}"/>'


def path(points: list[tuple[float, float]], kind: str) -> str:
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" class="{kind}"/>'


def told(words: str, body: str, kind: str = "") -> str:
    """A part of a drawing with a text that shows under the pointer."""
    return f'<g class="{kind}"><title>{html.escape(words)}</title>{body}</g>'


def mark(x: float, y: float, place: int, title: str) -> str:
    """A filled shape and colour for the engine at `place`, with a text that shows under the pointer."""
    draw = (_circle, _square, _triangle, _diamond, _plus, _cross)[place % COLOURS]
    return told(title, draw(x, y), f"f{place % COLOURS}")


def _circle(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def _square(x: float, y: float) -> str:
    return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'


def _polygon(x: float, y: float, corners: tuple[tuple[float, float], ...]) -> str:
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"/>'


def _triangle(x: float, y: float) -> str:
    return _polygon(x, y, ((0, -6), (5.5, 4.5), (-5.5, 4.5)))


def _diamond(x: float, y: float) -> str:
    return _polygon(x, y, ((0, -6.5), (6.5, 0), (0, 6.5), (-6.5, 0)))


def _plus(x: float, y: float) -> str:
    corners = (
        (-2, -6),
        (2, -6),
        (2, -2),
        (6, -2),
        (6, 2),
        (2, 2),
        (2, 6),
        (-2, 6),
        (-2, 2),
        (-6, 2),
        (-6, -2),
        (-2, -2),
    )
    return _polygon(x, y, corners)


def _cross(x: float, y: float) -> str:
    return _polygon(x, y, ((-6, -6), (0, -2), (6, -6), (2, 0), (6, 6), (0, 2), (-6, 6), (-2, 0)))


def axis_below(scale: Scale, y: float, title: str, label: Label, top: float) -> str:
    """The x axis at height `y`, with grid lines up to `top`; labels that would touch are left out."""
    parts, free = [], -math.inf
    for tick in scale.ticks():
        x, words = scale(tick), label(tick)
        parts.append(line(x, top, x, y, "grid"))
        half = len(words) * CHARACTER / 2
        if x - half > free:
            parts.append(text(x, y + 16, words, "tick", "middle"))
            free = x + half + 4
    middle = (scale.start + scale.end) / 2
    return "".join([*parts, line(scale.start, y, scale.end, y, "axis"), text(middle, y + 34, title, "name", "middle")])


def axis_left(scale: Scale, x: float, title: str, label: Label, right: float) -> str:
    """The y axis at `x`, with grid lines to `right`; its title stands above it."""
    parts = [
        line(x, scale(t), right, scale(t), "grid") + text(x - 6, scale(t) + 4, label(t), "tick", "end")
        for t in scale.ticks()
    ]
    return "".join([*parts, line(x, scale.start, x, scale.end, "axis"), text(4, scale.end - 14, title, "name")])


def figure(width: float, height: float, title: str, body: str) -> str:
    """A whole drawing, with a name for those who cannot see it."""
    name = html.escape(title)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{name}"><title>{name}</title>{body}</svg>'
    )

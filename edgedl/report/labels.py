"""Puts labels beside points so that none covers another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgedl.report.svg import CHARACTER

HEIGHT = 14.0


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


def place(points: Sequence[tuple[float, float]], texts: Sequence[str], bounds: Box) -> list[Box]:
    """A box for each text, as near to its point as free room allows; on its point where there is none."""
    taken = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    for point, text in zip(points, texts, strict=True):
        candidates = _around(point, len(text) * CHARACTER)
        free = (box for box in candidates if box.within(bounds) and not any(box.meets(t) for t in taken))
        taken.append(next(free, next(_around(point, len(text) * CHARACTER))))
    return taken[len(points) :]


def _around(point: tuple[float, float], width: float) -> Iterator[Box]:
    """Right, left, above and below; then ever farther."""
    x, y = point
    yield _box(x + 9, y - HEIGHT / 2, width)
    yield _box(x - 9 - width, y - HEIGHT / 2, width)
    for step in range(40):
        away = 8 + step * 6
        for left in (x - width / 2, x + 4, x - 4 - width, x - width * 0.8, x - width * 0.2):
            yield _box(left, y - away - HEIGHT, width)
            yield _box(left, y + away, width)


def _box(left: float, top: float, width: float) -> Box:
    return Box(left, top, left + width, top + HEIGHT)

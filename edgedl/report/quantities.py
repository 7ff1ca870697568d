"""What can be known of a row as one number: what the trade-off plots have on their axes, and the marks tell under the pointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgedl.measure import Figure
from edgedl.report import units
from edgedl.report.figures import figure_told
from edgedl.report.rows import Row


@dataclass(frozen=True)
class Quantity:
    """value: of a row, None where it is not known. words: that value with its interval. tick: a value on an axis.

    higher: whether more is better.
    """

    name: str
    value: Callable[[Row], float | None]
    words: Callable[[Row], str]
    tick: Callable[[float], str]
    higher: bool = False

    @property
    def axis(self) -> str:
        return f"{self.name} ({'higher' if self.higher else 'lower'} is better)"


def quantities(rows: Sequence[Row]) -> tuple[Quantity, ...]:
    """The score first, by its own name; those that are known of no row are left out."""
    name = next((row.evidence.score_name for row in rows if row.evidence and row.evidence.score_name), "score")
    score = Quantity(name, lambda row: row.score, lambda row: units.number(row.score), units.short, higher=True)
    return tuple(q for q in (score, LATENCY, SIZE, ENERGY, MEMORY) if any(q.value(row) is not None for row in rows))


def told(row: Row, known: Sequence[Quantity]) -> str:
    """All that is known of the row, in one line."""
    said = [f"{quantity.name} {quantity.words(row)}" for quantity in known if quantity.value(row) is not None]
    return f"{row.title}: {', '.join(said)}"


def _latency(row: Row) -> float | None:
    """As measured, else as the target tells it."""
    figure = figure_of(row, "latency")
    return row.median.value if row.median else figure.value if figure else None


def _latency_words(row: Row) -> str:
    return units.spread(row.median) if row.median else _figure_words(row, "latency")


def _energy(row: Row) -> float | None:
    figure = figure_of(row, "energy")
    return figure.value if figure and figure.value > 0 else None


def figure_of(row: Row, name: str) -> Figure | None:
    """What the target or a counter told under this name."""
    figures = row.measured.figures if row.measured else ()
    return next((figure for figure in figures if figure.name == name), None)


def _figure_words(row: Row, name: str) -> str:
    figure = figure_of(row, name)
    return f"{figure_told(figure)}, {figure.how}" if figure else units.NONE


def _memory(row: Row) -> float | None:
    return row.measured.peak_bytes if row.measured else None


LATENCY = Quantity("latency per run", _latency, _latency_words, units.tick)
SIZE = Quantity("file size", lambda row: row.size, lambda row: units.size(row.size), units.size)
ENERGY = Quantity("energy per run", _energy, lambda row: _figure_words(row, "energy"), units.energy)
MEMORY = Quantity("peak memory", _memory, lambda row: units.size(_memory(row)), units.size)

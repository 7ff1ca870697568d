"""Whether arena and flash fit a board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgedl.measure import Figure
from edgedl.sizes import size
from edgedl.targets.mcu.boards import Board

STACK = 8_000
"""bytes of RAM that are left to the stack and to what is not the arena: an assumption"""


@dataclass(frozen=True)
class Fit:
    """reasons: what is too large. doubts: what is too large at the upper end of its estimate only."""

    board: Board
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return "does not fit" if self.reasons else "may fit" if self.doubts else "fits"

    @property
    def sentence(self) -> str:
        """`fits on BOARD`, with what is too large behind a colon."""
        why = " and ".join(self.reasons or self.doubts)
        return f"{self.verdict} on {self.board.name}{': ' if why else ''}{why}"


def fit(board: Board, arena: Figure, flash: Figure) -> Fit:
    """Where a figure has an interval, what is too large at its lower end does not fit, and at its upper end may not."""
    ram = board.block - STACK
    needed = ((arena, ram, "of RAM for the arena"), (flash, board.flash, "of flash"))
    return Fit(board, tuple(_over(needed, "low")), tuple(_over(needed, "high")))


def _over(needed: tuple[tuple[Figure, int, str], ...], end: str) -> Iterator[str]:
    for figure, there, what in needed:
        bound = getattr(figure, end)
        count = figure.value if bound is None else bound
        if count > there:
            yield f"it needs {size(count)} {what} and has {size(there)}"

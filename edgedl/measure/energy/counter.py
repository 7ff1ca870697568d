"""What an energy counter is."""

from __future__ import annotations

from typing import Protocol


class Counter(Protocol):
    """Counts the joules of a machine, or of a part of it, from its own start.

    name: what is counted, and by what. delay: seconds that a reading may be old.
    period: it has to be read at least every so many seconds, or it loses count.
    """

    name: str
    delay: float
    period: float

    def joules(self) -> float:
        """Since the counter was made; never falls. Unavailable if the counter is gone."""

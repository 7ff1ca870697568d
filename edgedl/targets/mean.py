"""The mean, where a median does not tell what a target does to a model."""

from __future__ import annotations

from edgedl.measure import Figure, Measured


def mean_of(found: Measured) -> Figure:
    """Nanoseconds of a run, with the pauses between two runs."""
    seconds = sum(r.seconds for r in found.rounds)
    return Figure("mean", 1e9 * seconds / sum(r.runs for r in found.rounds), "ns", "measured")

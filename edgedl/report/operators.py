"""What each operator takes, as a table, and what bounds the model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgedl.measure import Measured, OperatorCost, Profile
from edgedl.measure.profile import verdict
from edgedl.report import units
from edgedl.report.columns import Column
from edgedl.report.table import printable, render

MOST_ROWS = 20
SLOWED = 1.2
"""From here on the profiler's own cost is told."""


def operators(subject: Measured, median_ns: float | None, most: int = MOST_ROWS) -> str:
    """Title, the operators that take most, and a sentence; "" where the subject has no profile."""
    profile = subject.profile
    if profile is None:
        return ""
    ordered = sorted(profile.operators, key=lambda cost: -cost.ns)
    rest = len(ordered) - most
    more = [f"and {rest} more, {units.duration(sum(cost.ns for cost in ordered[most:]))} in all"] if rest > 0 else []
    title = f"{subject.label}: {profile.how}, {profile.runs} runs"
    lines = [title, render(_columns(profile), ordered[:most]), *more, f"{subject.label} is {verdict(profile)}"]
    return "\n".join([*(line if "\n" in line else printable(line) for line in lines), *_remarks(profile, median_ns)])


def _columns(profile: Profile) -> tuple[Column[OperatorCost], ...]:
    roof, total = profile.roof, max(profile.total_ns, 1e-9)
    always: Sequence[Column[OperatorCost]] = (
        Column("operator", lambda cost: cost.kind, words=True),
        Column("name", lambda cost: short(cost.name), words=True),
        Column("time", lambda cost: units.duration(cost.ns)),
        Column("share", lambda cost: f"{cost.ns / total:.0%}"),
        Column("in", lambda cost: units.size(cost.bytes_in)),
        Column("out", lambda cost: units.size(cost.bytes_out)),
        Column("MACs", lambda cost: units.NONE if cost.macs is None else f"{cost.macs:,}"),
        Column("GMAC/s", lambda cost: f"{(cost.macs or 0) / max(cost.ns, 1e-9):.3g}" if cost.macs else units.NONE),
        Column("GB/s", lambda cost: f"{(cost.bytes_in + cost.bytes_out) / max(cost.ns, 1e-9):.3g}"),
    )
    if roof is None:
        return tuple(always)
    return (
        *always,
        Column("of the roof", lambda cost: f"{roof.share(cost):.0%}"),
        Column("bound by", lambda cost: roof.bound(cost), words=True),
    )


def _remarks(profile: Profile, median_ns: float | None) -> list[str]:
    said = []
    if roof := profile.roof:
        peaks = f"{roof.macs_per_second / 1e9:.3g} GMAC/s and {roof.bytes_per_second / 1e9:.3g} GB/s"
        said.append(f"Roofline of this machine, {roof.threads} thread(s): {peaks} ({roof.how})")
    if median_ns and profile.whole_ns > SLOWED * median_ns:
        said.append(f"Profiling made a run {profile.whole_ns / median_ns:.1f}x as long: short operators are overstated")
    if profile.arena_bytes:
        said.append(f"The engine's arena held {units.size(profile.arena_bytes)} of tensors at its peak")
    if profile.least_bytes:
        said.append(f"The tensors that are alive at one time take {units.size(profile.least_bytes)} at the least")
    return said


def short(name: str, longest: int = 36) -> str:
    """The end of a name, which tells operators apart: a TFLite tensor carries the paths of all layers that it was made of."""
    last = re.sub(r";\d*$", "", name).rpartition(";")[2]
    last = last.rpartition("/")[2] if len(last) > longest else last
    return last if len(last) <= longest else "..." + last[3 - longest :]

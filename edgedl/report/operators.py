"""What each operator takes, as a table and as bars, and what bounds the model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgedl.measure import Measured, OperatorCost, Profile
from edgedl.measure.profile import verdict
from edgedl.report import svg, units
from edgedl.report.charts import LEFT, RIGHT, WIDTH
from edgedl.report.columns import Column
from edgedl.report.table import printable, render

MOST_ROWS, MOST_BARS = 20, 15
STEP, WIDE = 30.0, 8
"""Operators' names are in capitals, which are wider than the letters that the room is reckoned in."""
SLOWED = 1.2
"""From here on the profiler's own cost is told."""


def operators(subject: Measured, median_ns: float | None, most: int = MOST_ROWS) -> str:
    """Title, the operators that take most, and a sentence; "" where the subject has no profile."""
    profile = subject.profile
    if profile is None:
        return ""
    shown, rest = ordered(profile)[:most], ordered(profile)[most:]
    more = [f"and {len(rest)} more, {units.duration(sum(cost.ns for cost in rest))} in all"] if rest else []
    title = f"{subject.label}: {profile.how}, {profile.runs} runs"
    told = (printable(line) for line in remarks(subject, median_ns))
    return "\n".join([printable(title), render(columns(profile), shown), *more, *told])


def ordered(profile: Profile) -> list[OperatorCost]:
    """What takes most comes first."""
    return sorted(profile.operators, key=lambda cost: -cost.ns)


def drawing(profile: Profile, most: int = MOST_BARS) -> str:
    """Bars of the time of each operator, what takes most first."""
    shown, rest = ordered(profile)[:most], ordered(profile)[most:]
    total, bottom = max(profile.total_ns, 1e-9), 6 + STEP * (len(shown) + bool(rest))
    scale = svg.Scale(0, max(cost.ns for cost in shown) * 1.02, LEFT, RIGHT)
    body = svg.axis_below(scale, bottom, "time per run", units.tick, 2)
    for number, cost in enumerate(shown):
        y = 6 + STEP * number
        figure = ", ".join([units.duration(cost.ns), f"{cost.ns / total:.0%}", *_bound(cost, profile)])
        name = units.cut(f"{cost.kind} {short(cost.name)}", int((RIGHT - LEFT) / svg.CHARACTER) - len(figure) - WIDE)
        body += svg.text(LEFT, y + 12, name, "label") + svg.text(RIGHT, y + 12, figure, "figure", "end")
        body += svg.told(
            _told(cost, profile),
            svg.bar(LEFT, y + 17, scale(cost.ns) - LEFT, 8, " ".join(["size", *_bound(cost, profile)])),
        )
    if rest:
        words = f"and {len(rest)} more, {units.duration(sum(cost.ns for cost in rest))} in all"
        body += svg.text(LEFT, 6 + STEP * len(shown) + 14, words, "label")
    return svg.figure(WIDTH, bottom + 42, "time of each operator", body)


def _bound(cost: OperatorCost, profile: Profile) -> list[str]:
    return [profile.roof.bound(cost)] if profile.roof else []


def _told(cost: OperatorCost, profile: Profile) -> str:
    """The operator's line of the table, in words."""
    return ", ".join(f"{column.title} {column.cell(cost)}" for column in columns(profile))


_SIZES = (
    Column[OperatorCost]("in", lambda cost: units.size(cost.bytes_in)),
    Column[OperatorCost]("out", lambda cost: units.size(cost.bytes_out)),
)
_RATE = Column[OperatorCost]("GB/s", lambda cost: f"{(cost.bytes_in + cost.bytes_out) / max(cost.ns, 1e-9):.3g}")


def columns(profile: Profile) -> tuple[Column[OperatorCost], ...]:
    """Those of the table of operators; bytes only where they are known."""
    roof, total = profile.roof, max(profile.total_ns, 1e-9)
    always: Sequence[Column[OperatorCost]] = (
        Column("operator", lambda cost: cost.kind, words=True),
        Column("name", lambda cost: short(cost.name), words=True),
        Column("time", lambda cost: units.duration(cost.ns)),
        Column("share", lambda cost: f"{cost.ns / total:.0%}"),
        *(_SIZES if profile.working_set else ()),
        Column("MACs", lambda cost: units.NONE if cost.macs is None else f"{cost.macs:,}"),
        Column("GMAC/s", lambda cost: f"{(cost.macs or 0) / max(cost.ns, 1e-9):.3g}" if cost.macs else units.NONE),
        *([_RATE] if profile.working_set else []),
    )
    if roof is None:
        return tuple(always)
    return (
        *always,
        Column("of the roof", lambda cost: f"{roof.share(cost):.0%}"),
        Column("bound by", lambda cost: roof.bound(cost), words=True),
    )


def remarks(subject: Measured, median_ns: float | None) -> list[str]:
    """What bounds the profiled subject, and what is to be known of its figures."""
    assert subject.profile
    profile, said = subject.profile, [f"{subject.label} is {verdict(subject.profile)}"]
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

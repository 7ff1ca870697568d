"""How the error of step models grows along a sequence: one curve for each artifact."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.report import svg, units
from edgedl.report.charts import LEFT, RIGHT, WIDTH, str_name
from edgedl.report.rows import Row

TOP, BOTTOM, START = 34.0, 210.0, 62.0
FLOOR = 1e-9
"""an error of zero has no logarithm"""


def drift(rows: Sequence[Row]) -> str:
    """Relative RMS error of each step against the whole sequence in torch, both axes logarithmic; empty without step models."""
    files = [row for row in {row.name: row for row in rows}.values() if row.evidence and row.evidence.drift]
    if not files:
        return ""
    curves = [[(step, max(error, FLOOR)) for step, error in row.evidence.drift] for row in files if row.evidence]
    steps, errors = zip(*(point for curve in curves for point in curve), strict=True)
    across = svg.Scale(min(steps), max(max(steps), 2), START, RIGHT - 6, log=True)
    up = svg.Scale(min(errors) / 2, max(errors) * 4, BOTTOM, TOP, log=True)
    body = svg.axis_left(up, START, "relative RMS error of the step", lambda v: f"{v:.0e}", RIGHT)
    body += svg.axis_below(across, BOTTOM, "step", lambda v: f"{v:.0f}", TOP)
    for number, (row, curve) in enumerate(zip(files, curves, strict=True)):
        body += svg.path([(across(step), up(error)) for step, error in curve], f"w{number % svg.COLOURS} curve")
        body += svg.mark(LEFT + 6, BOTTOM + 58 + 18 * number, number, row.name)
        last = f"{str_name(row)}: {units.short(curve[-1][1])} at step {curve[-1][0]}"
        body += svg.text(LEFT + 20, BOTTOM + 62 + 18 * number, last, "label")
    return svg.figure(WIDTH, BOTTOM + 60 + 18 * len(files), "drift over the steps of a stream", body)

"""How the time of a run changed while each subject ran without a pause: the throttling curve of the mode `sustained`."""

from __future__ import annotations

import numpy as np

from edgedl.measure import BenchmarkRecord, Measured
from edgedl.measure.summary import round_medians, throttling
from edgedl.report import svg, units
from edgedl.report.charts import LEFT, RIGHT, WIDTH

TOP, BOTTOM, START, STEP = 34.0, 210.0, 62.0, 18.0


def throttle(record: BenchmarkRecord | None) -> str:
    """Medians of the rounds over those of the first third, against the seconds since the subject began; empty in other modes."""
    ran = [subject for subject in record.finished if subject.rounds] if record else []
    if record is None or record.plan.mode != "sustained" or not ran:
        return ""
    curves = [_curve(subject) for subject in ran]
    seconds, times = zip(*(point for curve in curves for point in curve), strict=True)
    across = svg.Scale(0, max(*seconds, 1e-3), START, RIGHT - 6)
    up = svg.Scale(min(*times, 0.95) - 0.02, max(*times, 1.05) + 0.02, BOTTOM, TOP)
    body = svg.axis_left(up, START, "time of a run, over that at the start", lambda v: f"{v:.2f}x", RIGHT)
    body += svg.axis_below(across, BOTTOM, "seconds without a pause", lambda v: f"{v:g}", TOP)
    for number, (subject, curve) in enumerate(zip(ran, curves, strict=True)):
        line = svg.path([(across(s), up(t)) for s, t in curve], f"w{number % svg.COLOURS} curve")
        body += svg.told(throttling(subject), line)
        y = BOTTOM + 58 + STEP * number
        body += svg.mark(LEFT + 6, y, number, throttling(subject))
        body += svg.text(LEFT + 20, y + 4, units.cut(subject.label, 56), "label")
    return svg.figure(WIDTH, BOTTOM + 60 + STEP * len(ran), "time of a run without a pause", body)


def _curve(subject: Measured) -> list[tuple[float, float]]:
    """(seconds since the first round, time relative to the first third of the rounds)."""
    medians = round_medians(subject)
    start = float(np.median(medians[: len(medians) // 3]))
    return [(r.at - subject.rounds[0].at, float(m) / start) for r, m in zip(subject.rounds, medians, strict=True)]

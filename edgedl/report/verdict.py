"""Which artifact to ship, and why: one sentence that the rows bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedl.measure import Measured, speedup
from edgedl.measure.statistics import Estimate
from edgedl.measure.summary import between, is_faster, is_slower, times, visible
from edgedl.report import units
from edgedl.report.rows import Row

MAX_DROP = 0.01
"""how much of the score (in its own unit) may be lost, unless another budget is given"""


@dataclass(frozen=True)
class Choice:
    """row: the one to ship, None where nothing can be recommended."""

    row: Row | None
    sentence: str


def choose(rows: Sequence[Row], max_drop: float = MAX_DROP) -> Choice:
    """Among the proven artifacts within the budget the fastest; of those that are as fast, the smallest.

    Of several places one for each, in one sentence: what is fastest on one need not be on another.
    """
    places = list(dict.fromkeys(row.place for row in rows if row.place))
    if len(places) < 2:
        return _choose(rows, max_drop)
    chosen = {place: _choose([row for row in rows if row.place in (None, place)], max_drop) for place in places}
    said = dict.fromkeys(choice.sentence for choice in chosen.values())
    if len(said) == 1:
        return Choice(None, next(iter(said)))
    return Choice(None, "; ".join(f"on {place}: {choice.sentence}" for place, choice in chosen.items()))


def _choose(rows: Sequence[Row], max_drop: float) -> Choice:
    proven = [row for row in rows if row.proven and row.format != "torch"]
    if not proven:
        return Choice(None, _nothing_proven(rows))
    fitting = [row for row in proven if row.drop is None or row.drop <= max_drop]
    if not fitting:
        return Choice(None, _all_drop(proven, max_drop))
    timed = sorted((row for row in fitting if row.median), key=_median)
    if not timed:
        best = min(fitting, key=_size)
        return Choice(best, f"Ship {best.name}: {_rest(best, None)}; its speed was not measured")
    best = min((row for row in timed if not _real(timed[0], row)), key=_size)
    return Choice(best, f"Ship {best.title}: {', '.join(_reasons(best, _baseline(best, rows)))}")


def gain_over(row: Row, baseline: Row) -> Estimate:
    """How many times faster `row` is than `baseline`; both measured in one record."""
    return speedup(_measured(row), _measured(baseline))


def _real(fastest: Row, other: Row) -> bool:
    return other is not fastest and is_faster(gain_over(fastest, other))


def _baseline(best: Row, rows: Sequence[Row]) -> Row | None:
    """ONNX Runtime float, else the torch original, else the float file of the same format; same threads first."""
    floats = [row for row in rows if row.median and row.scheme == "fp32"]
    order = ["onnx", "torch", best.format]
    ranked = [row for row in floats if row.format in order]
    found = min(ranked, key=lambda row: (order.index(row.format), row.threads != best.threads), default=None)
    others = [row for row in ranked if row.name == best.name and row is not best]  # with other numbers of threads
    return others[0] if found is best and others else found


def _reasons(best: Row, baseline: Row | None) -> list[str]:
    if baseline is None:
        return [f"{units.duration(_median(best))} per run, with no float model to compare with", _rest(best, None)]
    if baseline is best:
        return [f"nothing that is proven within the budget is faster; {_rest(best, None)}"]
    return [_speed(best, baseline), _rest(best, baseline)]


def _speed(best: Row, baseline: Row) -> str:
    gain = gain_over(best, baseline)
    if is_faster(gain):
        return f"{times(gain)} faster than {baseline.title} ({between(gain)})"
    if is_slower(gain):
        loss = Estimate(1 / gain.value, 1 / gain.high, 1 / gain.low)
        return f"nothing is faster than {baseline.title}: it is {times(loss)} slower ({between(loss)})"
    return f"nothing is faster: no difference to {baseline.title} could be seen ({visible(gain)})"


def _rest(best: Row, baseline: Row | None) -> str:
    against = baseline.size if baseline and baseline.size else None
    smaller = against / max(best.size or 1, 1) if against else best.smaller
    return ", ".join(filter(None, [_size_words(best, smaller), _score_words(best)]))


def _size_words(best: Row, smaller: float | None) -> str:
    if smaller is None or abs(smaller - 1) < 0.005:
        return units.size(best.size)
    return f"{units.times(smaller)} smaller" if smaller > 1 else f"{units.times(1 / smaller)} larger"


def _score_words(best: Row) -> str:
    if best.score is None:
        return "no score is known"
    assert best.evidence
    drop = "" if best.drop is None else f" (drop {units.number(best.drop)})"
    return f"{best.evidence.score_name or 'score'} {units.number(best.score)}{drop}"


def _nothing_proven(rows: Sequence[Row]) -> str:
    failed = [row for row in rows if row.proven is False and row.format != "torch"]
    if failed and failed[0].evidence:
        why = failed[0].evidence.failures[0] if failed[0].evidence.failures else "its gate failed"
        return f"Ship nothing yet: no artifact is proven; {failed[0].name}: {why}"
    return f"Ship nothing yet: no artifact is proven, for {_without_evidence(rows)}"


def _without_evidence(rows: Sequence[Row]) -> str:
    absent = dict.fromkeys(row.name for row in rows if row.measured and row.measured.sha256 and not row.scheme)
    if not absent:
        return "none has evidence beside it (edgedl export writes it)"
    return (
        f"{' and '.join(absent)}, as measured, was found neither beside the record nor where it was, or has no manifest: "
        "give the folder that holds it, as in: edgedl report record.json build/"
    )


def _all_drop(proven: Sequence[Row], max_drop: float) -> str:
    best = min(proven, key=lambda row: row.drop or 0)
    return (
        f"Ship nothing yet: every proven artifact loses more than the budget of {units.short(max_drop)}; "
        f"the least is lost by {best.name}, {_score_words(best)}"
    )


def _median(row: Row) -> float:
    assert row.median
    return row.median.value


def _size(row: Row) -> tuple[int, float]:
    return row.size or 0, row.median.value if row.median else 0.0


def _measured(row: Row) -> Measured:
    assert row.measured
    return row.measured

"""What a manifest's evidence says, read leniently: what is absent or of another shape is None."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Evidence:
    """passed: proven or not; None for the reference itself. failures: why not.

    relative_rms, cosine: the worst over all cases and outputs. drop: positive is worse; drop_interval: 95 %.
    drift: of a step model, (step, relative RMS error).
    """

    passed: bool | None
    failures: tuple[str, ...] = ()
    relative_rms: float | None = None
    cosine: float | None = None
    score_name: str | None = None
    score: float | None = None
    reference_score: float | None = None
    drop: float | None = None
    drop_interval: tuple[float, float] | None = None
    drift: tuple[tuple[int, float], ...] = ()


def evidence_of(data: Mapping[str, Any]) -> Evidence | None:
    """None where the manifest holds no evidence."""
    if not data:
        return None
    cases = [case for case in _list(data.get("parity")) if isinstance(case, Mapping)]
    score = data.get("score")
    score = score if isinstance(score, Mapping) else {}
    return Evidence(
        passed=data.get("passed") is True,
        failures=tuple(str(failure) for failure in _list(data.get("failures"))),
        relative_rms=_worst(max, cases, "relative_rms"),
        cosine=_worst(min, cases, "cosine"),
        score_name=str(score["name"]) if "name" in score else None,
        score=_number(score.get("value")),
        reference_score=_number(score.get("reference")),
        drop=_number(score.get("drop")),
        drop_interval=_interval(score.get("interval")),
        drift=_drift(data.get("drift")),
    )


def _drift(value: Any) -> tuple[tuple[int, float], ...]:
    """(step, relative RMS error) of a step model; empty where it is something else."""
    pairs = [tuple(map(_number, _list(pair))) for pair in _list(value)]
    return tuple((int(pair[0]), pair[1]) for pair in pairs if len(pair) == 2 and pair[0] and pair[1] is not None)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _worst(pick: Any, cases: list[Mapping[str, Any]], key: str) -> float | None:
    values = [value for case in cases if (value := _number(case.get(key))) is not None]
    return pick(values) if values else None


def _interval(value: Any) -> tuple[float, float] | None:
    bounds = [_number(bound) for bound in _list(value)]
    return (bounds[0], bounds[1]) if len(bounds) == 2 and None not in bounds else None  # type: ignore[return-value]

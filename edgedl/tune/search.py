"""From the cheapest repair to the dearest: other ranges, other biases and scales, then layers that stay in float."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgedl.exporter import QuantizationOptions
from edgedl.tune.journal import Journal
from edgedl.tune.sensitivity import Sensitivity
from edgedl.tune.trial import Trial

REPAIRS: tuple[dict[str, Any], ...] = (
    {"equalize": True}, {"bias_correction": True}, {"calibrator": "mse"}, {"calibrator": "percentile"},
    {"calibrator": "entropy"}, {"smooth": 0.5},
)  # fmt: skip
"""What costs nothing when the model runs; each is kept where it helps."""
Try = Callable[[QuantizationOptions], Trial]
Rank = Callable[[QuantizationOptions], Sequence[Sensitivity]]


class OutOfTimeError(Exception):
    """The next trial would end after the deadline."""


@dataclass(frozen=True)
class Kept:
    """A layer that stays in float.

    sqnr_db: of its output when it was int8. without: the drop with it in int8 again beside the others, where that was tried.
    """

    name: str
    operator: str
    sqnr_db: float
    without: float | None


@dataclass(frozen=True)
class Found:
    """best: the trial that is delivered. kept: what stays in float, and why. trials: how many were made or remembered.

    out_of_time: whether the search ended because of that.
    """

    best: Trial
    kept: tuple[Kept, ...]
    trials: int
    out_of_time: bool


@dataclass
class Bench:
    """Makes trials, remembers them, and watches the time.

    run: makes one. deadline: by time.monotonic(). told: of each trial, with a word on what it is.
    """

    run: Try
    journal: Journal
    deadline: float
    told: Callable[[str, Trial], None]
    tried: list[Trial] = field(default_factory=list)

    def attempt(self, what: str, options: QuantizationOptions) -> Trial:
        """OutOfTimeError where an average trial would end too late; the first is always made."""
        trial = self.journal.find(options)
        if trial is None:
            took = [t.seconds for t in self.tried if t.size]
            if took and time.monotonic() + sum(took) / len(took) > self.deadline:
                raise OutOfTimeError
            trial = self.run(options)
            self.journal.add(trial)
        self.tried.append(trial)
        self.told(what, trial)
        return trial

    @property
    def best(self) -> Trial:
        """Of those that pass, the one with the fewest layers in float, then the fewest changes; else the nearest."""
        made = [trial for trial in self.tried if trial.size]
        return min(made or self.tried, key=_cost)


def _cost(trial: Trial) -> tuple[Any, ...]:
    if trial.passed:
        return False, len(trial.options.keep_float), len(trial.options.changed()), trial.relative_rms
    return (*trial.rank, 0)


def search(bench: Bench, rank: Rank, base: QuantizationOptions) -> Found:
    """Repairs one by one, then more and more layers in float by sensitivity, then as many back as the budget lets."""
    known: dict[str, Sensitivity] = {}
    returned: dict[str, float | None] = {}
    try:
        repaired = _repaired(bench, bench.attempt("as it is", base))
        if not repaired.passed:
            _given_back(bench, _islands(bench, repaired, rank, known), returned)
        out_of_time = False
    except OutOfTimeError:
        out_of_time = True
    kept = tuple(_kept(name, known.get(name), returned.get(name)) for name in bench.best.options.keep_float)
    return Found(bench.best, kept, len(bench.tried), out_of_time)


def _repaired(bench: Bench, trial: Trial) -> Trial:
    for repair in REPAIRS:
        if trial.passed:
            return trial
        tried = bench.attempt(
            ", ".join(f"{key}={value}" for key, value in repair.items()), replace(trial.options, **repair)
        )
        trial = min(trial, tried, key=lambda t: t.rank)
    return trial


def _islands(bench: Bench, trial: Trial, rank: Rank, known: dict[str, Sensitivity]) -> Trial:
    """2, 4, 8... more of the layers that are the most sensitive once those before are float, until the budget holds.

    Noise runs downstream: what comes after a bad layer can be told apart only when that one is mended.
    """
    count = 2
    while not trial.passed:
        kept, ranked = trial.options.keep_float, rank(trial.options)
        fresh = [name for name in _in_turn(ranked) if name not in kept][:count]
        if not fresh:
            return trial
        known.update({item.layer.name: item for item in ranked if item.layer.name in fresh})
        trial = _with_more(bench, trial, fresh)
        count *= 2
    return trial


def _with_more(bench: Bench, trial: Trial, names: Sequence[str]) -> Trial:
    """The trial with these layers in float too; without the last of them, where nothing can be made so (nothing would be int8)."""
    kept = (*trial.options.keep_float, *names)
    tried = bench.attempt(f"{len(kept)} layers in float", replace(trial.options, keep_float=kept))
    if tried.size or len(names) == 1:
        return tried
    return bench.attempt(f"{len(kept) - 1} layers in float", replace(trial.options, keep_float=kept[:-1]))


def _in_turn(ranked: Sequence[Sensitivity]) -> list[str]:
    """The most sensitive layers, each with the one that reads what it computes."""
    pairs = ((item.layer, item.following) for item in ranked)
    return list(dict.fromkeys(layer.name for pair in pairs for layer in pair if layer))


def _given_back(bench: Bench, passing: Trial, returned: dict[str, float | None]) -> None:
    """Halves, quarters, ... and single layers back to int8, the latest first, wherever the budget still holds."""
    size = len(passing.options.keep_float) // 2 if passing.passed else 0
    while size:
        latest = tuple(reversed(passing.options.keep_float))
        for start in range(0, len(latest), size):
            passing = _without(bench, passing, latest[start : start + size], returned)
        size //= 2


def _without(bench: Bench, passing: Trial, names: Sequence[str], returned: dict[str, float | None]) -> Trial:
    """The trial with the layers in int8 again if it passes, else the one given; keeps what a single layer costs."""
    kept = tuple(name for name in passing.options.keep_float if name not in names)
    if len(kept) == len(passing.options.keep_float):
        return passing
    what = names[0] if len(names) == 1 else f"{len(names)} layers"
    tried = bench.attempt(f"{what} in int8 again", replace(passing.options, keep_float=kept))
    if len(names) == 1:
        returned[names[0]] = tried.drop
    return tried if tried.passed else passing


def _kept(name: str, known: Sensitivity | None, without: float | None) -> Kept:
    operator, sqnr = (known.layer.operator, known.sqnr_db) if known else ("", float("nan"))
    return Kept(name, operator, sqnr, without)

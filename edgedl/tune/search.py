"""From the cheapest repair to the dearest: other ranges, other biases and scales, then layers that are kept from 8 bits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
FLOAT, WIDE = "keep_float", "wide"
"""The options that keep a layer from int8: it stays in float, or has 16-bit activations."""
_SAID = {FLOAT: "in float", WIDE: "with 16-bit activations"}
Try = Callable[[QuantizationOptions, bool], Trial]
"""(options, whether all examples are to be scored whatever a part of them says) -> the trial"""
Rank = Callable[[QuantizationOptions], Sequence[Sensitivity]]


class OutOfTimeError(Exception):
    """The next trial would end after the deadline."""


@dataclass(frozen=True)
class Kept:
    """A layer that is kept from int8. how: FLOAT or WIDE.

    sqnr_db: of its output when it was int8. without: the drop with it in int8 again beside the others, where that was tried.
    """

    name: str
    operator: str
    sqnr_db: float
    without: float | None
    how: str = FLOAT


@dataclass(frozen=True)
class Found:
    """best: the trial that is delivered. kept: what stays in float, and why. trials: how many were made or remembered.

    out_of_time: whether the search ended because of that. scored: (examples, of how many) -> trials that were decided on them;
    (None, None) stands for all.
    """

    best: Trial
    kept: tuple[Kept, ...]
    trials: int
    out_of_time: bool
    scored: Mapping[tuple[int | None, int | None], int] = field(default_factory=dict)


@dataclass
class Bench:
    """Makes trials, remembers them, and watches the time.

    run: makes one. deadline: by time.monotonic(). told: of each trial, with a word on what it is.
    """

    run: Try
    journal: Journal
    deadline: float
    told: Callable[[str, Trial], None]
    made: dict[QuantizationOptions, Trial] = field(default_factory=dict)

    @property
    def tried(self) -> list[Trial]:
        """One trial of each set of options, the last of it, in the order of the first."""
        return list(self.made.values())

    def attempt(self, what: str, options: QuantizationOptions) -> Trial:
        """OutOfTimeError where an average trial would end too late; the first is always made."""
        trial = self.journal.find(options)
        if trial is None:
            took = [t.seconds for t in self.tried if t.size]
            if took and time.monotonic() + sum(took) / len(took) > self.deadline:
                raise OutOfTimeError
            trial = self.run(options, False)
            self.journal.add(trial)
        if options not in self.made:
            self.told(what, trial)
        self.made[options] = trial
        return trial

    def confirmed(self) -> bool:
        """Whether the best is what it seems on all examples, on which it is scored now unless it was; OutOfTimeError as above."""
        best = self.best
        if best.scored is None or best.examples is None:
            return True
        if time.monotonic() + best.seconds * best.examples / best.scored > self.deadline:
            raise OutOfTimeError
        whole = self.run(best.options, True)
        self.journal.add(whole)
        self.made[best.options] = whole
        self.told("the best on all examples", whole)
        return whole.passed == best.passed

    @property
    def best(self) -> Trial:
        """Of those that pass, the one with the fewest layers kept from int8, then the fewest changes; else the nearest."""
        made = [trial for trial in self.tried if trial.size]
        return min(made or self.tried, key=_cost)


def _cost(trial: Trial) -> tuple[Any, ...]:
    if trial.passed:
        return (
            False,
            sum(len(_names(trial, how)) for how in (FLOAT, WIDE)),
            len(trial.options.changed()),
            trial.relative_rms,
        )
    return (*trial.rank, 0)


def search(bench: Bench, rank: Rank, base: QuantizationOptions, ways: Sequence[str] = (FLOAT,)) -> Found:
    """Repairs one by one, then more and more layers kept from int8 by sensitivity, then as many back as the budget lets.

    The best is confirmed on all examples of the score; if it is not what it seemed on a part of them, the search goes on.
    ways: how layers are kept from it; the next is taken where one cannot meet the budget.
    """
    known: dict[str, Sensitivity] = {}
    returned: dict[str, float | None] = {}
    try:
        _walked(bench, rank, base, ways, known, returned)
        while not bench.confirmed():
            _walked(bench, rank, base, ways, known, returned)
        out_of_time = False
    except OutOfTimeError:
        out_of_time = True
    best = bench.best
    kept = [
        _kept(name, known.get(name), returned.get(name), how) for how in (FLOAT, WIDE) for name in _names(best, how)
    ]
    scored = Counter((trial.scored, trial.examples) for trial in bench.tried if trial.size)
    return Found(best, tuple(kept), len(bench.tried), out_of_time, scored)


def _walked(
    bench: Bench, rank: Rank, base: QuantizationOptions, ways: Sequence[str],
    known: dict[str, Sensitivity], returned: dict[str, float | None],
) -> None:  # fmt: skip
    """The whole way once; what was tried before costs nothing, and where it turned out otherwise the way is another."""
    repaired = _repaired(bench, bench.attempt("as it is", base))
    for how in ways:
        if not bench.best.passed:
            _given_back(bench, _islands(bench, repaired, rank, known, how), returned, how)


def _names(trial: Trial, how: str) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(trial.options, how)
    return names


def _with(trial: Trial, how: str, names: tuple[str, ...]) -> QuantizationOptions:
    return replace(trial.options, **{how: names})  # type: ignore[arg-type]


def _repaired(bench: Bench, trial: Trial) -> Trial:
    for repair in REPAIRS:
        if trial.passed:
            return trial
        tried = bench.attempt(
            ", ".join(f"{key}={value}" for key, value in repair.items()), replace(trial.options, **repair)
        )
        trial = min(trial, tried, key=lambda t: t.rank)
    return trial


def _islands(bench: Bench, trial: Trial, rank: Rank, known: dict[str, Sensitivity], how: str) -> Trial:
    """2, 4, 8... more of the layers that are the most sensitive once those before are kept from int8, until the budget holds.

    Noise runs downstream: what comes after a bad layer can be told apart only when that one is mended.
    """
    count = 2
    while not trial.passed:
        kept, ranked = _names(trial, how), rank(trial.options)
        fresh = [name for name in most_sensitive(ranked) if name not in kept][:count]
        if not fresh:
            return trial
        known.update({item.layer.name: item for item in ranked if item.layer.name in fresh})
        trial = _with_more(bench, trial, fresh, how)
        count *= 2
    return trial


def _with_more(bench: Bench, trial: Trial, names: Sequence[str], how: str) -> Trial:
    """The trial with these layers kept too; without the last of them, where nothing can be made so (nothing would be int8)."""
    kept = (*_names(trial, how), *names)
    tried = bench.attempt(f"{len(kept)} layers {_SAID[how]}", _with(trial, how, kept))
    if tried.size or len(names) == 1:
        return tried
    return bench.attempt(f"{len(kept) - 1} layers {_SAID[how]}", _with(trial, how, kept[:-1]))


def most_sensitive(ranked: Sequence[Sensitivity]) -> list[str]:
    """The most sensitive layers, each with the one that reads what it computes."""
    pairs = ((item.layer, item.following) for item in ranked)
    return list(dict.fromkeys(layer.name for pair in pairs for layer in pair if layer))


def _given_back(bench: Bench, passing: Trial, returned: dict[str, float | None], how: str) -> None:
    """Halves, quarters, ... and single layers back to int8, the latest first, wherever the budget still holds."""
    size = len(_names(passing, how)) // 2 if passing.passed else 0
    while size:
        latest = tuple(reversed(_names(passing, how)))
        for start in range(0, len(latest), size):
            passing = _without(bench, passing, latest[start : start + size], returned, how)
        size //= 2


def _without(bench: Bench, passing: Trial, names: Sequence[str], returned: dict[str, float | None], how: str) -> Trial:
    """The trial with the layers in int8 again if it passes, else the one given; keeps what a single layer costs."""
    kept = tuple(name for name in _names(passing, how) if name not in names)
    if len(kept) == len(_names(passing, how)):
        return passing
    what = names[0] if len(names) == 1 else f"{len(names)} layers"
    tried = bench.attempt(f"{what} in int8 again", _with(passing, how, kept))
    if len(names) == 1:
        returned[names[0]] = tried.drop
    return tried if tried.passed else passing


def _kept(name: str, known: Sensitivity | None, without: float | None, how: str) -> Kept:
    operator, sqnr = (known.layer.operator, known.sqnr_db) if known else ("", float("nan"))
    return Kept(name, operator, sqnr, without, how)

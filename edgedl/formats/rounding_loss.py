"""Find the operators whose results one integer scale cannot hold, because it would round a part of the tensor away.

Two kinds are looked for in the values that calibration inputs give. A join, such as a concatenation, whose parts differ in
magnitude: the scale of the whole is too coarse for the smallest. And a tensor at the end of the network, behind the last
layers, of which a part varies little from input to input beside the range of the whole: boxes around large grid centres, say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgedl.exporter import FloatRegion
from edgedl.spec import Array

LIMIT = 0.1
"""The largest rounding error of a part, relative to what varies in it."""
LAYER_LIMIT = 0.3
"""The same for the result of a layer with weights, which costs bytes and time in float."""
BATCHES = 32
"""Batches of calibration inputs that are enough to see magnitudes."""
_LONGEST = 4096
"""An axis up to this length is searched for indices of a magnitude of their own."""


@dataclass(frozen=True)
class Operator:
    """One operator of a graph, as far as rounding is concerned.

    name: what a person finds it by. inputs: the computed tensors that it reads, no constants. layer: it has weights, and its
    inputs are rounded. joins: its inputs lie side by side in its output. moves: its output holds the values of its input.
    rounds: its outputs are rounded. step: of its output, where the engine fixes it.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layer: bool = False
    joins: bool = False
    moves: bool = False
    rounds: bool = True
    step: float | None = None


@dataclass
class Spread:
    """How the values of one tensor spread, overall and at each place over the rows (the first axis) of all batches."""

    low: float = 0.0
    high: float = 0.0
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    rows: int = 0
    sums: Array | None = None
    square_sums: Array | None = None
    same_shape: bool = field(default=True)

    def add(self, values: Array) -> None:
        array = np.asarray(values, np.float64)
        if not array.size or not np.isfinite(array).all():
            return
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
        self.count += array.size
        self.total += float(array.sum())
        self.squares += float((array**2).sum())
        self._add_rows(array if array.ndim else array.reshape(1))

    def _add_rows(self, array: Array) -> None:
        if self.sums is None or self.square_sums is None:
            self.sums, self.square_sums = np.zeros(array.shape[1:]), np.zeros(array.shape[1:])
        self.same_shape = self.same_shape and self.sums.shape == array.shape[1:]
        if self.same_shape:
            self.rows += len(array)
            self.sums += array.sum(axis=0)
            self.square_sums += (array**2).sum(axis=0)

    def step(self, levels: int) -> float:
        """The width of one integer step."""
        return (self.high - self.low) / levels

    @property
    def deviation(self) -> float:
        """The standard deviation of all values; of a constant, its size."""
        mean, square = self.total / max(self.count, 1), self.squares / max(self.count, 1)
        variance = square - mean**2
        return math.sqrt(variance) if variance > 1e-12 * square else abs(mean)

    def smallest_part(self) -> float:
        """What varies from row to row in the part of the tensor that varies least; of constant parts, their size. 0: nothing is known."""
        if self.sums is None or self.square_sums is None or not self.same_shape:
            return 0.0
        mean, square = self.sums / self.rows, self.square_sums / self.rows
        variance = np.maximum(square - mean**2, 0)
        signal = np.where(variance > 1e-10 * square, variance, square)
        axes = [axis for axis, length in enumerate(signal.shape) if 1 < length <= _LONGEST]
        return math.sqrt(min([float(signal.mean()), *(_least(signal, axis) for axis in axes)]))


def _least(signal: Array, axis: int) -> float:
    """The mean of the smallest decade of mean squares along an axis."""
    others = tuple(n for n in range(signal.ndim) if n != axis)
    means = signal.mean(axis=others)
    means = means[means > 0]
    if not means.size:
        return math.inf
    decades = np.floor(np.log10(means))
    return float(means[decades == decades.min()].mean())


def watched(operators: Sequence[Operator]) -> set[str]:
    """The tensors whose values `float_regions` needs."""
    joined = {name for o in operators if o.joins for name in (*o.inputs, *o.outputs)}
    return joined | {name for o in operators if o.rounds for name in o.outputs if name in _tail(operators)}


def spreads(values: Iterable[tuple[str, Array]]) -> dict[str, Spread]:
    found: dict[str, Spread] = {}
    for name, array in values:
        found.setdefault(name, Spread()).add(array)
    return found


def float_regions(operators: Sequence[Operator], seen: Mapping[str, Spread], levels: int = 255) -> list[FloatRegion]:
    """The operators that are to stay in float, with the reason for each group; the first is the one that loses."""
    tail, found, taken = _tail(operators), [], set[int]()
    for number, operator in enumerate(operators):
        if number in taken or not (reason := _reason(operator, tail, seen, levels)):
            continue
        behind = _behind(operators, number)
        region = sorted((behind | _before(operators, behind, tail)) - taken)
        if any(operators[n].rounds or operators[n].layer for n in region):
            taken.update(region)
            found.append(FloatRegion(tuple(operators[n].name for n in region), reason))
    return found


def _reason(operator: Operator, tail: Collection[str], seen: Mapping[str, Spread], levels: int) -> str:
    """Why the operator's result cannot be rounded; empty if it can."""
    for name in operator.outputs:
        if name not in seen:
            continue
        step = operator.step or seen[name].step(levels)
        if operator.joins:
            parts = [seen[part].deviation for part in operator.inputs if part in seen and seen[part].deviation]
            if parts and _loses(step, min(parts), LIMIT):
                return f"its parts vary by {min(parts):.2g} and {max(parts):.2g}, and one integer step for both is {step:.2g}"
        if operator.rounds and name in tail:
            least = seen[name].smallest_part()
            if _loses(step, least, LAYER_LIMIT if operator.layer else LIMIT):
                return f"one integer step is {step:.2g}, and a part of it varies by {least:.2g} only"
    return ""


def _loses(step: float, signal: float, limit: float) -> bool:
    """Whether rounding, whose error is spread evenly over a step, takes too much of the signal."""
    return 0 < signal < math.inf and step / math.sqrt(12) > limit * signal


def _behind(operators: Sequence[Operator], first: int) -> set[int]:
    """The operator and all that would round its values again: up to the next layers, or to the outputs."""
    found, names = {first}, set(operators[first].outputs)
    for number, operator in enumerate(operators[first + 1 :], first + 1):
        if not names.intersection(operator.inputs):
            continue
        if operator.layer or operator.rounds or operator.moves:
            found.add(number)
        if not operator.layer and (operator.rounds or operator.moves):
            names.update(operator.outputs)
    return found


def _before(operators: Sequence[Operator], region: set[int], tail: Collection[str]) -> set[int]:
    """What leads from the last layers to a region at the end of the network: rounding there and back again would only cost."""
    found, names = set[int](), {name for n in region for name in operators[n].inputs}
    for number, operator in reversed(list(enumerate(operators))):
        if number not in region and not operator.layer and names.intersection(operator.outputs).intersection(tail):
            found.add(number)
            names.update(operator.inputs)
    return found


def _tail(operators: Sequence[Operator]) -> set[str]:
    """The tensors from which no layer is reached."""
    reaching: set[str] = set()
    for operator in reversed(operators):
        if operator.layer or reaching.intersection(operator.outputs):
            reaching.update(operator.inputs)
    return {name for operator in operators for name in operator.outputs} - reaching


def names(regions: Iterable[FloatRegion]) -> Iterator[str]:
    return (name for region in regions for name in region.operators)

"""What `edgedl compare` found, to and from JSON; docs/record.md tells every field."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from edgedl import strict_json
from edgedl.errors import InvalidInput
from edgedl.measure.codec import decode

KIND = "edgedl-comparison"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Layer:
    """One tensor on both sides.

    line: the user's line that made it. shape: as the first side has it. sqnr_db: 10 log10(sum of a^2 / sum of (a - b)^2) in
    decibels, infinite where they are equal, NaN where one is not finite. cosine: of the two as vectors.
    low, high: the smallest and the largest value of the first side, over all runs. factor: b's tensor is so many times a's
    by design, as the exporter folded a constant; the figures are those of a's times the factor.
    """

    name: str
    other: str
    line: str | None
    shape: tuple[int, ...]
    sqnr_db: float
    cosine: float
    low: float
    high: float
    factor: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """layers: in the order of computation. unmatched: tensors of `a` for which `b` has none (fused away, or left out).

    inputs: what they ran on: `given`, `calibration`, `example`, `golden` or `seeded`. runs: how many. without_lines: why no
    source line is known, or empty.
    """

    a: str
    b: str
    inputs: str
    runs: int
    layers: tuple[Layer, ...]
    unmatched: tuple[str, ...]
    without_lines: str = ""

    @property
    def worst_first(self) -> tuple[Layer, ...]:
        return tuple(sorted(self.layers, key=lambda layer: -math.inf if math.isnan(layer.sqnr_db) else layer.sqnr_db))

    def to_json(self) -> str:
        """A number that is not finite is null; `sqnr` says what a SQNR is that has no decibels."""
        layers = [{**asdict(layer), "sqnr": sqnr_word(layer.sqnr_db)} for layer in self.layers]
        return (
            strict_json.dumps({"kind": KIND, "schema_version": SCHEMA_VERSION, **asdict(self), "layers": layers}) + "\n"
        )

    @classmethod
    def from_json(cls, text: str, source: str) -> Comparison:
        """InvalidInput, naming `source`, if the text is not a comparison of this schema version."""
        data = strict_json.document(text, source, "comparison", KIND, SCHEMA_VERSION, ": compare again")
        try:
            told = decode(_Told, data, "comparison")
        except InvalidInput as error:
            raise InvalidInput(f"{source} is not a whole comparison: {error}") from error
        layers = tuple(map(_layer, told.layers))
        return cls(told.a, told.b, told.inputs, told.runs, layers, told.unmatched, told.without_lines)

    @classmethod
    def open(cls, path: Path) -> Comparison:
        """The comparison in a file; InvalidInput if it is not there or is none."""
        try:
            return cls.from_json(path.read_text(errors="replace"), str(path))
        except OSError as error:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


@dataclass(frozen=True)
class _ToldLayer:
    """A layer as JSON has it."""

    name: str
    other: str
    line: str | None
    shape: tuple[int, ...]
    sqnr_db: float | None
    cosine: float | None
    low: float | None
    high: float | None
    sqnr: str
    factor: float = 1.0


@dataclass(frozen=True)
class _Told:
    a: str
    b: str
    inputs: str
    runs: int
    layers: tuple[_ToldLayer, ...]
    unmatched: tuple[str, ...]
    without_lines: str = ""


_WORDS = {math.inf: "equal", -math.inf: "all noise"}


def sqnr_word(sqnr_db: float) -> str:
    """`finite`, or why there are no decibels."""
    return "finite" if math.isfinite(sqnr_db) else _WORDS.get(sqnr_db, "not finite")


def _layer(told: _ToldLayer) -> Layer:
    sqnr = {word: value for value, word in _WORDS.items()}.get(told.sqnr, _number(told.sqnr_db))
    cosine, low, high = (_number(value) for value in (told.cosine, told.low, told.high))
    return Layer(told.name, told.other, told.line, told.shape, sqnr, cosine, low, high, told.factor)


def _number(value: float | None) -> float:
    return math.nan if value is None else value

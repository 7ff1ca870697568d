"""Sums of pairs that leave 16 bits: what becomes of uint8 x int8 products on x86 without VNNI.

There ONNX Runtime multiplies by VPMADDUBSW, which adds two neighbouring products in a saturating int16; what is cut off is lost.
VNNI, the dot product of ARM, and plain NEON add in 32 bits and lose nothing. docs/decisions/0042-saturation-guard.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgedl.errors import InvalidArtifact
from edgedl.spec import Array

_LOWEST, _HIGHEST = np.iinfo(np.int16).min, np.iinfo(np.int16).max
_AT_ONCE = 1 << 22
"""Sums of pairs that are held in memory at one time."""
_WORK, _LEAST_ROWS = 1 << 23, 16
"""Sums of pairs that are looked at in one matrix, and rows that are in any case."""
UINT8 = (0, 255)
EXACT = "exact"


def can_leave(weights: Array, low: int, high: int) -> Array:
    """Which sums of pairs leave int16 for some activations of low..high; bool [pairs, outputs].

    weights: int8 [inputs, outputs]. Each product is largest and smallest at an end of the range: the bound is exact.
    """
    ends = np.stack([_paired(weights, 0) * low, _paired(weights, 0) * high])
    largest, smallest = ends.max(0).sum(1), ends.min(0).sum(1)
    return np.asarray((largest > _HIGHEST) | (smallest < _LOWEST))


def lost(activations: Array, weights: Array, watched: Array) -> Array:
    """What saturation takes from each sum of products; int64 [rows, outputs].

    activations: uint8 [rows, inputs]. weights: int8 [inputs, outputs]. watched: the pairs that are looked at, [pairs, outputs].
    """
    outputs, pairs = np.nonzero(watched.T)
    found = np.zeros((len(activations), weights.shape[1]), np.int64)
    if not len(pairs):
        return found
    halves = _paired(weights, 0)[pairs, :, outputs]
    touched, starts = np.unique(outputs, return_index=True)
    step = max(1, _AT_ONCE // len(pairs))
    for start in range(0, len(activations), step):
        sums = (_paired(activations[start : start + step], 1)[:, pairs] * halves).sum(2)
        cut = np.clip(sums, _LOWEST, _HIGHEST) - sums
        found[start : start + step, touched] = np.add.reduceat(cut, starts, axis=1)
    return found


def _paired(array: Array, axis: int) -> Array:
    """int32, the axis split into pairs of neighbours; an odd one is beside a zero."""
    padding = [(0, array.shape[n] % 2 if n == axis else 0) for n in range(array.ndim)]
    even = np.pad(array.astype(np.int32), padding)
    return even.reshape(*array.shape[:axis], -1, 2, *array.shape[axis + 1 :])


@dataclass(frozen=True)
class PairSums:
    """A layer whose products are uint8 x int8.

    channels: its outputs' channels. at_risk: those of which a pair can leave 16 bits for activations in the range that is
    known. outputs: how many were computed on real inputs, None where none were. saturated: of those, the ones that lost
    something. error: RMS of what was lost, over the RMS of the exact sums.
    """

    layer: str
    operator: str
    channels: int
    at_risk: int
    outputs: int | None = None
    saturated: int = 0
    error: float = 0.0


def observed(
    layer: str, operator: str, weights: Sequence[Array], products: Iterable[tuple[Array, Array, int]]
) -> PairSums:
    """What becomes of a layer's products: activations uint8 [rows, inputs], weights int8 [inputs, outputs], zero point."""
    at_risk: dict[int, Array] = {}
    outputs = saturated = 0
    squares = np.zeros(2)
    for activations, matrix, zero in products:
        mask = can_leave(matrix, min(int(activations.min()), zero), max(int(activations.max()), zero))
        activations = _fewer(activations, int(mask.sum()))
        missing = lost(activations, matrix, mask)
        exact = (activations.astype(np.float32) - zero) @ matrix.astype(np.float32)
        squares += (missing.astype(np.float64) ** 2).sum(), (exact.astype(np.float64) ** 2).sum()
        at_risk[id(matrix)] = at_risk.get(id(matrix), np.zeros(len(mask[0]), bool)) | mask.any(0)
        outputs += missing.size
        saturated += int((missing != 0).sum())
    risky = sum(int(mask.sum()) for mask in at_risk.values())
    error = float(np.sqrt(squares[0] / squares[1])) if squares[1] else 0.0
    return PairSums(layer, operator, _channels(weights), risky, outputs, saturated, error)


def _fewer(rows: Array, pairs: int) -> Array:
    """Evenly spaced rows, as many as the work allows: a layer of even weights has a million pairs that could saturate."""
    most = max(_LEAST_ROWS, _WORK // max(pairs, 1))
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _channels(weights: Sequence[Array]) -> int:
    return sum(matrix.shape[1] for matrix in weights)


def bounded(layer: str, operator: str, weights: Sequence[Array]) -> PairSums:
    """The same by the bound alone, for whatever uint8 comes in."""
    at_risk = sum(int(can_leave(array, *UINT8).any(0).sum()) for array in weights)
    return PairSums(layer, operator, _channels(weights), at_risk)


@dataclass(frozen=True)
class Saturation:
    """The verdict on one file. engine: whose kernels; exact: why nothing can saturate in it, empty where something could."""

    layers: tuple[PairSums, ...]
    engine: str
    exact: str = ""

    @property
    def confirmed(self) -> tuple[PairSums, ...]:
        """The layers that lose sums on the real inputs; the worst first."""
        return tuple(sorted((found for found in self.layers if found.saturated), key=lambda found: -found.error))

    @property
    def possible(self) -> tuple[PairSums, ...]:
        """The layers that could by the bound, and were not seen to."""
        return tuple(found for found in self.layers if found.at_risk and not found.saturated)

    @property
    def by_instruction_set(self) -> dict[str, str]:
        """What the integer kernels make of the file: `exact`, `could saturate` or `saturates`."""
        avx2 = "saturates" if self.confirmed else "could saturate" if self.possible else EXACT
        return {
            "AVX2": avx2,
            "AVX512 without VNNI": avx2,
            "AVX512-VNNI": EXACT,
            "AVX-VNNI": EXACT,
            "ARM dot product": EXACT,
        }

    @property
    def sentence(self) -> str:
        if self.exact:
            return f"none: {self.exact}"
        return f"AVX2 without VNNI: {self._without_vnni()}; exact with VNNI and on ARM"

    def _without_vnni(self) -> str:
        if worst := next(iter(self.confirmed), None):
            share = f"{worst.saturated / (worst.outputs or 1):.2g}"
            told = f"{worst.layer} (share of its outputs {share}, error {worst.error:.2g})"
            return f"{len(self.confirmed)} of {len(self.layers)} integer layers lose sums, the worst {told}"
        if not self.possible:
            return f"no sum of {len(self.layers)} integer layers can leave 16 bits"
        tried = all(found.outputs is not None for found in self.possible)
        seen = "none did on the inputs" if tried else "not tried on inputs"
        return f"{len(self.possible)} of {len(self.layers)} integer layers could lose sums, {seen}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "by_instruction_set": self.by_instruction_set, "sentence": self.sentence}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Saturation:
        """Of a manifest; InvalidArtifact where it is no such thing."""
        try:
            return cls(tuple(PairSums(**layer) for layer in told["layers"]), str(told["engine"]), str(told["exact"]))
        except (TypeError, KeyError) as error:
            raise InvalidArtifact(f"the manifest's evidence of saturation cannot be read: {error}") from error


def instruction_set(flags: Collection[str]) -> str:
    """Which of these a processor with the flags of edgedl.measure.environment has; empty where that is not known."""
    known = {"avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "asimddp": "ARM dot product", "asimd": "NEON"}
    without = {"avx512f": "AVX512 without VNNI", "avx2": "AVX2 without VNNI"}
    return next((name for flag, name in {**known, **without}.items() if flag in flags), "")

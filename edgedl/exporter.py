"""What an exporter is: one object per format, found under the entry-point group `edgedl.exporters`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgedl.errors import InvalidInput, UnknownName, Unsupported
from edgedl.saturation import Saturation
from edgedl.schemes import Scheme
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec
from edgedl.workload import Workload

if TYPE_CHECKING:
    import torch

Calibration = Callable[[], Iterable[Feeds]]
"""Gives the calibration inputs anew at each call."""


@dataclass(frozen=True)
class Program:
    """What is exported.

    module: in eval mode; its `forward` takes the inputs by position and returns a tuple of tensors, one per output name.
    inputs: example arrays by name, in the order of `forward`; every dynamic axis has a length of 2 or more.
    channels_last: the inputs of rank 4 are NHWC in the artifact (`forward` stays NCHW).
    signatures: lengths of the dynamic axes by name; where given, no others need to be taken.
    quantized: the graph of `module` holds quantize and dequantize operators, which become integers in the artifact.
    """

    name: str
    module: torch.nn.Module
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    dynamic_axes: DynamicAxes = field(default_factory=dict)
    channels_last: bool = False
    signatures: tuple[Mapping[str, int], ...] = ()
    quantized: bool = False

    def axis(self, input_name: str, number: int) -> Axis | None:
        return self.dynamic_axes.get(input_name, {}).get(number)

    @functools.cached_property
    def critical_lengths(self) -> Mapping[str, Mapping[int, str | None]]:
        """axis name -> length -> the user's line; see edgedl.critical_lengths."""
        from edgedl.critical_lengths import critical_lengths

        return critical_lengths(self) if self.dynamic_axes and not self.signatures else {}

    def laid_out(self, feeds: Feeds) -> dict[str, Array]:
        """Feeds of `forward` as the artifact takes them."""
        if not self.channels_last:
            return dict(feeds)
        return {
            name: np.ascontiguousarray(np.moveaxis(a, 1, -1)) if np.ndim(a) == 4 else a for name, a in feeds.items()
        }

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the names of their dynamic axes."""
        return tuple(
            TensorSpec(name, tuple(self._dims(name, array.shape)), array.dtype.name)
            for name, array in self.inputs.items()
        )

    def artifact_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs as the artifact takes them, with the names of their dynamic axes."""
        return tuple(self._laid_out_spec(spec) for spec in self.input_specs())

    def _laid_out_spec(self, spec: TensorSpec) -> TensorSpec:
        if not self.channels_last or len(spec.shape) != 4:
            return spec
        batch, channels, height, width = spec.shape
        return replace(spec, shape=(batch, height, width, channels))

    def _dims(self, name: str, shape: tuple[int, ...]) -> Iterable[int | str]:
        for number, length in enumerate(shape):
            axis = self.axis(name, number)
            yield axis.name if axis else length


AUTO = "auto"
_BY_LAYER = ("keep_float", "wide", "narrow")
CALIBRATORS = ("minmax", "entropy", "percentile", "mse")
IO_TYPES = ("float32", "int8", "uint8")


@dataclass(frozen=True)
class QuantizationOptions:
    """How a scheme is carried out. The defaults take the exact ranges, a scale per output channel, and every layer alike.

    calibrator: where the ranges of activations come from. `minmax`: the smallest and largest value seen; `entropy`: the
    clipping with the least Kullback-Leibler divergence over 2048 bins; `percentile`: what holds 99.99 % of the values;
    `mse`: the clipping with the least squared error. per_channel: a scale for each output channel, else one for a tensor.
    bias_correction: biases take up the mean error that rounded weights cause. equalize: scales are balanced between
    consecutive layers. smooth: SmoothQuant's alpha, the share of the activations' spread that goes into the weights.
    keep_float, wide, narrow: layers, as `Exporter.layers` names them, that stay float (there also types of operators, as
    `Exporter.describe` counts them), have 16-bit activations, or have
    7-bit weights (whose sums of pairs cannot overflow 16 bits on AVX2); AUTO in `narrow`: those that are seen to
    overflow; in `wide`: those that a search within a budget finds.
    io: how inputs and outputs are stored: `float32`, or `int8` or `uint8` with a scale and a zero point.
    """

    calibrator: str = "minmax"
    bias_correction: bool = False
    equalize: bool = False
    smooth: float | None = None
    keep_float: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    per_channel: bool = True
    io: str = "float32"

    def __post_init__(self) -> None:
        if self.io not in IO_TYPES:
            raise UnknownName("io type", self.io, IO_TYPES)
        if self.calibrator not in CALIBRATORS:
            raise UnknownName("calibrator", self.calibrator, CALIBRATORS)
        if self.smooth is not None and not 0 <= self.smooth <= 1:
            raise InvalidInput(f"SmoothQuant's alpha is {self.smooth}: expected a number from 0 to 1, as 0.5")

    def changed(self) -> tuple[str, ...]:
        """The names of the fields that differ from the defaults."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def layers(self) -> set[str]:
        """The names of layers that stand in any of the fields."""
        return {layer for name in _BY_LAYER for layer in getattr(self, name)} - {AUTO}

    def among(self, layers: Collection[str]) -> QuantizationOptions:
        """With these layers alone, where they are named."""
        kept = {name: tuple(n for n in getattr(self, name) if n in layers or n == AUTO) for name in _BY_LAYER}
        return replace(self, **kept)  # type: ignore[arg-type]

    def check(
        self, what: str, carried_out: Collection[str], layers: Callable[[], Iterable[Layer]],
        operators: Callable[[], Collection[str]] = frozenset,
    ) -> QuantizationOptions:  # fmt: skip
        """The options with each type of layer in `keep_float` replaced by the layers of the type; other types of operators stay.

        Unsupported for a field that is changed and not carried out by `what`, and where every layer is kept in float.
        UnknownName for a layer that is not there.
        """
        if ignored := [name for name in self.changed() if name not in carried_out]:
            raise Unsupported(f"{what} has no {ignored[0]}: its options are {', '.join(carried_out) or 'none'}")
        if not self.layers():
            return self
        there = list(layers())
        known = [layer.name for layer in there]
        checked = replace(self, keep_float=tuple(_expanded(self.keep_float, there)))
        if missing := sorted(checked.layers().difference(known)):
            types = {*operators()}.intersection(checked.keep_float)
            if unknown := [name for name in missing if name not in types]:
                raise UnknownName("layer", unknown[0], known)
        if {*checked.keep_float}.issuperset(known):
            raise Unsupported(
                f"every layer stays in float (keep_float names all {len(known)}): nothing is left for {what}, "
                "and the float file is there already"
            )
        return checked


def _expanded(names: Iterable[str], layers: Sequence[Layer]) -> Iterable[str]:
    """The names, with the layers of a type in place of the type."""
    for name in names:
        of_type = [layer.name for layer in layers if layer.operator == name]
        is_layer = any(layer.name == name for layer in layers)
        yield from of_type if of_type and not is_layer else [name]


DEFAULT_OPTIONS = QuantizationOptions()


@dataclass(frozen=True)
class Layer:
    """An operator that can be quantized by itself.

    name: unique in the file, and the same in the float and in the quantized one. output: the tensor that it computes in
    this file. parameters: elements of its weights and bias; 0 for a product of two activations. macs: of one run at the
    written shapes, or None where a shape is not known.
    """

    name: str
    operator: str
    output: str
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class FloatRegion:
    """Operators that a quantization left in float by itself, in the order of computation, and why."""

    operators: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Stored:
    """One line of the byte ledger: the constants of one dtype that operators of one type read.

    count: bytes of them all. weights: bytes of those with two axes or more that are longer than 1: scales and biases are left out.
    """

    operator: str
    dtype: str
    count: int
    weights: int


@dataclass(frozen=True)
class Description:
    """What is in a model file.

    operators: count by type. parameters: number of weights. macs: multiply-accumulates of one run at the written
    shapes (dynamic axes count as 1), or None where an operator's cost is unknown. bytes_by_dtype: stored weights.
    ledger: where the bytes of the constants are, the most first. ranges: the integers that an input may hold, where it
    chooses rows of a table.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    parameters: int
    macs: int | None
    bytes_by_dtype: Mapping[str, int]
    opset: int | None = None
    ledger: tuple[Stored, ...] = ()
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """One operator of a model file as a model of its own.

    name, kind: the operator's. bytes_in: of its inputs and weights. content: a whole model file. inputs: their values, in
    the order of the model's inputs.
    """

    name: str
    kind: str
    macs: int | None
    bytes_in: int
    bytes_out: int
    content: bytes
    inputs: tuple[Array, ...]


class Exporter(Protocol):
    """One per format. Methods that write put one whole file at `path`, and touch nothing else.

    requires: module names, `a|b` where either serves. extra: the edgedl extra that installs them.
    schemes: the scheme names that `quantize` knows. runtimes: engines that can prove the file, best first.
    """

    format: str
    suffix: str
    requires: tuple[str, ...]
    extra: str
    schemes: tuple[str, ...]
    runtimes: tuple[str, ...]

    def prepared(self, program: Program) -> torch.nn.Module:
        """The module as it is traced: a copy where layers are swapped for what the format has."""

    def unsupported(self, exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
        """The nodes of a traced program that the format has no operators for."""

    def export(self, program: Program, path: Path) -> None:
        """Write the program in fp32; Unsupported names the operator or axis, and the source line that made it."""

    def quantize(
        self, source: Path, scheme: Scheme, calibration: Calibration | None, path: Path,
        options: QuantizationOptions = DEFAULT_OPTIONS,
    ) -> tuple[FloatRegion, ...]:  # fmt: skip
        """Write `source` under the scheme and return what stays in float unasked; `calibration` is given when the scheme needs it.

        UnknownName for a layer that is not in the file; Unsupported for options that the format or scheme cannot carry out.
        """

    def layers(self, source: Path) -> tuple[Layer, ...]:
        """The layers that `keep_float` and the other options can name, in the order of computation."""

    def objection(self, source: Path, scheme: Scheme) -> str | None:
        """Why the scheme is a bad choice for this file, or None; what to use instead is found by asking for each scheme."""

    def saturation(self, path: Path, runs: Calibration | None) -> Saturation:
        """Whether sums of an integer file saturate in the format's engine, on the runs or for any input (see edgedl.saturation)."""

    def describe(self, path: Path) -> Description:
        """What is in the file; InvalidArtifact if it is not of this format."""

    def workload(self, path: Path) -> Workload:
        """What one run has to compute; InvalidArtifact if it is not of this format."""

    def intermediates(self, path: Path, feeds: Feeds) -> Iterable[tuple[str, Array]]:
        """Run the file and give every intermediate tensor as real numbers, in the order of computation."""


def unused_name(name: str, taken: Collection[str]) -> str:
    """The name, with `_1`, `_2`, ... behind it where it is taken."""
    numbered = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
    return next(free for free in numbered if free not in taken)

"""What an exporter is: one object per format, found under the entry-point group `edgedl.exporters`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgedl.schemes import Scheme
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec

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
    """

    name: str
    module: torch.nn.Module
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    dynamic_axes: DynamicAxes = field(default_factory=dict)
    channels_last: bool = False
    signatures: tuple[Mapping[str, int], ...] = ()

    def axis(self, input_name: str, number: int) -> Axis | None:
        return self.dynamic_axes.get(input_name, {}).get(number)

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


@dataclass(frozen=True)
class Description:
    """What is in a model file.

    operators: count by type. parameters: number of weights. macs: multiply-accumulates of one run at the written
    shapes (dynamic axes count as 1), or None where an operator's cost is unknown. bytes_by_dtype: stored weights.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    parameters: int
    macs: int | None
    bytes_by_dtype: Mapping[str, int]
    opset: int | None = None


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

    def quantize(self, source: Path, scheme: Scheme, calibration: Calibration | None, path: Path) -> None:
        """Write `source` under the scheme; `calibration` is given when the scheme needs it."""

    def objection(self, source: Path, scheme: Scheme) -> str | None:
        """Why the scheme is a bad choice for this file (with a better one), or None."""

    def describe(self, path: Path) -> Description:
        """What is in the file; InvalidArtifact if it is not of this format."""

    def intermediates(self, path: Path, feeds: Feeds) -> Iterable[tuple[str, Array]]:
        """Run the file and give every intermediate tensor as real numbers, in the order of computation."""

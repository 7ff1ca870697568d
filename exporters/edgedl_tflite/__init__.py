"""TFLite: torch.export -> litert-torch -> a flatbuffer with the user's names; quantization by ai-edge-quantizer.

Importing this package loads no engine and no converter; each method does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgedl.exporter import DEFAULT_OPTIONS
from edgedl.saturation import Saturation
from edgedl.schemes import Scheme
from edgedl.spec import Array, Feeds
from edgedl.workload import Workload

if TYPE_CHECKING:
    import torch

    from edgedl.exporter import Calibration, Description, FloatRegion, Layer, Piece, Program, QuantizationOptions
    from edgedl.lifetimes import Lifetimes


class TfliteExporter:
    """The exporter of the format `tflite`; see edgedl.exporter.Exporter for the contract of each method."""

    format = "tflite"
    suffix = ".tflite"
    requires: tuple[str, ...] = ("torch", "litert_torch", "ai_edge_quantizer", "ai_edge_litert")
    extra = "tflite"
    schemes: tuple[str, ...] = ("fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16")
    runtimes: tuple[str, ...] = ("litert",)

    def prepared(self, program: Program) -> torch.nn.Module:
        from edgedl_tflite.quiet import quiet

        with quiet():
            from edgedl_tflite.recurrent import marked

            return marked(program.module)

    def unsupported(self, exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
        from edgedl_tflite.analysis import unsupported

        return unsupported(exported)

    def export(self, program: Program, path: Path) -> None:
        from edgedl_tflite.export import export

        export(program, path)

    def quantize(
        self, source: Path, scheme: Scheme, calibration: Calibration | None, path: Path,
        options: QuantizationOptions = DEFAULT_OPTIONS,
    ) -> tuple[FloatRegion, ...]:  # fmt: skip
        from edgedl_tflite.quantize import quantize

        return quantize(source, scheme, calibration, path, options)

    def layers(self, source: Path) -> tuple[Layer, ...]:
        from edgedl_tflite.layers import layers

        return layers(source)

    def objection(self, source: Path, scheme: Scheme) -> str | None:
        from edgedl_tflite.objection import objection

        return objection(source, scheme)

    def saturation(self, path: Path, runs: Calibration | None) -> Saturation:
        """Nothing can saturate: XNNPACK widens both factors to 16 bits before AVX2 multiplies and adds them in 32."""
        return Saturation((), "LiteRT", "LiteRT adds the products of int8 in 32 bits on every processor")

    def describe(self, path: Path) -> Description:
        from edgedl_tflite.describe import describe

        return describe(path)

    def lifetimes(self, source: Path) -> Lifetimes:
        """When its tensors are alive, for targets without an allocator."""
        from edgedl_tflite.lifetimes import lifetimes

        return lifetimes(source)

    def workload(self, path: Path) -> Workload:
        from edgedl_tflite.workload import workload

        return workload(path)

    def output_steps(self, path: Path) -> dict[str, float]:
        """How finely it rounds each quantized output (see edgedl_tflite.steps)."""
        from edgedl_tflite.steps import output_steps

        return output_steps(path)

    def intermediates(self, path: Path, feeds: Feeds) -> Iterator[tuple[str, Array]]:
        from edgedl_tflite.intermediates import intermediates

        return intermediates(path, feeds)

    def pieces(self, path: Path, feeds: Feeds) -> Iterator[Piece]:
        """Every operator that runs, as a model of its own (see edgedl.exporter.Piece)."""
        from edgedl_tflite.pieces import pieces

        return pieces(path, feeds)

    def least_bytes(self, path: Path, feeds: Feeds) -> int:
        """A lower bound of the memory that the tensors of one run need."""
        from edgedl_tflite.pieces import least_bytes

        return least_bytes(path, feeds)


exporter = TfliteExporter()

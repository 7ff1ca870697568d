"""ONNX as an edgedl format: torch.export -> ONNX, graph rewriting and quantization."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgedl.exporter import DEFAULT_OPTIONS, Calibration, Description, FloatRegion, Layer, Program, QuantizationOptions
from edgedl.saturation import Saturation
from edgedl.schemes import Scheme
from edgedl.spec import Array, Feeds
from edgedl.workload import Workload

if TYPE_CHECKING:
    import torch


class OnnxExporter:
    """The Exporter of ONNX; each method's work is in the module of its name."""

    format = "onnx"
    suffix = ".onnx"
    requires = ("torch", "onnx", "onnxscript", "onnxruntime")
    extra = "onnx"
    schemes = ("fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16")
    runtimes = ("ort",)

    def prepared(self, program: Program) -> torch.nn.Module:
        from edgedl_onnx.recurrent import with_operators

        return with_operators(program.module)

    def unsupported(self, exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
        from edgedl_onnx.analysis import unsupported

        return unsupported(exported)

    def export(self, program: Program, path: Path) -> None:
        from edgedl_onnx.export import export

        export(program, path)

    def quantize(
        self, source: Path, scheme: Scheme, calibration: Calibration | None, path: Path,
        options: QuantizationOptions = DEFAULT_OPTIONS,
    ) -> tuple[FloatRegion, ...]:  # fmt: skip
        from edgedl_onnx.quantize import quantize

        return quantize(source, scheme, calibration, path, options)

    def layers(self, source: Path) -> tuple[Layer, ...]:
        from edgedl_onnx.layers import layers

        return layers(source)

    def objection(self, source: Path, scheme: Scheme) -> str | None:
        from edgedl_onnx.objection import objection

        return objection(source, scheme)

    def saturation(self, path: Path, runs: Calibration | None) -> Saturation:
        from edgedl_onnx.saturation import saturation

        return saturation(path, runs)

    def describe(self, path: Path) -> Description:
        from edgedl_onnx.describe import describe

        return describe(path)

    def workload(self, path: Path) -> Workload:
        from edgedl_onnx.workload import workload

        return workload(path)

    def intermediates(self, path: Path, feeds: Feeds) -> Iterable[tuple[str, Array]]:
        from edgedl_onnx.intermediates import intermediates

        return intermediates(path, feeds)


exporter = OnnxExporter()

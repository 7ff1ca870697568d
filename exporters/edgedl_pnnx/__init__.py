"""ncnn as an edgedl format: torch.export -> ONNX -> pnnx, in one file of the two that ncnn loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgedl import registry
from edgedl.exporter import DEFAULT_OPTIONS, Calibration, Description, FloatRegion, Layer, Program, QuantizationOptions
from edgedl.saturation import Saturation
from edgedl.schemes import Scheme
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.workload import Workload

if TYPE_CHECKING:
    import torch

    from edgedl_pnnx.bundle import Bundle


class NcnnExporter:
    """The Exporter of ncnn; each method's work is in the module of its name."""

    format = "ncnn"
    suffix = ".ncnn"
    requires = ("ncnn", "pnnx", "onnx")
    extra = "ncnn"
    schemes = ("w8a8",)
    runtimes = ("ncnn",)

    def prepared(self, program: Program) -> torch.nn.Module:
        return registry.exporter("onnx").prepared(program)

    def unsupported(self, exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
        return registry.exporter("onnx").unsupported(exported)

    def export(self, program: Program, path: Path) -> None:
        from edgedl_pnnx.export import export

        export(program, path)

    def onnx_specs(self, path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """(inputs, outputs) of an ONNX file that ncnn is to run; EngineFailed for dtypes that it does not carry."""
        from edgedl_pnnx.specs import onnx_specs

        return onnx_specs(path)

    def converted(
        self, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec],
        shapes: tuple[tuple[int, ...], ...], name: str,
    ) -> Bundle:  # fmt: skip
        """An ONNX file at fixed input shapes, not proven; EngineFailed about `name` for what cannot be converted."""
        from edgedl_pnnx.conversion import convert

        return convert(path, inputs, outputs, shapes, name)

    def quantize(
        self, source: Path, scheme: Scheme, calibration: Calibration | None, path: Path,
        options: QuantizationOptions = DEFAULT_OPTIONS,
    ) -> tuple[FloatRegion, ...]:  # fmt: skip
        from edgedl_pnnx.quantize import quantize

        quantize(source, scheme, calibration, path, options)
        return ()

    def layers(self, source: Path) -> tuple[Layer, ...]:
        from edgedl_pnnx.layers import layers

        return layers(source)

    def objection(self, source: Path, scheme: Scheme) -> str | None:
        from edgedl_pnnx.quantize import objection

        return objection(source)

    def saturation(self, path: Path, runs: Calibration | None) -> Saturation:
        return Saturation((), "ncnn", "its int8 goes from -127 to 127 on both sides: two products fit in 16 bits")

    def describe(self, path: Path) -> Description:
        from edgedl_pnnx.layers import describe

        return describe(path)

    def workload(self, path: Path) -> Workload:
        from edgedl_pnnx.workload import workload

        return workload(path)

    def intermediates(self, path: Path, feeds: Feeds) -> Iterable[tuple[str, Array]]:
        from edgedl_pnnx.bundle import Bundle
        from edgedl_pnnx.graph import read
        from edgedl_pnnx.values import values

        bundle = Bundle.read(path)
        graph = read(bundle.param, bundle.weights, str(path))
        blobs = [layer.outputs[0] for layer in graph if layer.kind not in ("Input", "Split", "MemoryData")]
        return values(bundle, feeds, blobs)


exporter = NcnnExporter()

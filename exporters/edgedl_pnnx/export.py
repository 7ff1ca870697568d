"""From a program to a `.ncnn` file, by way of ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgedl import registry
from edgedl.errors import EngineFailed, Unsupported
from edgedl.exporter import Program
from edgedl_pnnx.bundle import NO_BATCH, Bundle
from edgedl_pnnx.conversion import Shapes, convert
from edgedl_pnnx.specs import onnx_specs


def export(program: Program, path: Path) -> None:
    """Write `program` to `path`; Unsupported names the operators that pnnx or ncnn lacks."""
    if program.quantized:
        raise Unsupported(
            "ncnn takes no graph that was trained in int8: export the float model, and edgedl quantize it"
        )
    with tempfile.TemporaryDirectory(prefix="edgedl-ncnn-") as folder:
        source = Path(folder) / f"{program.name}.onnx"
        registry.exporter("onnx").export(program, source)
        try:
            bundle = _converted(program, source)
        except EngineFailed as error:
            raise Unsupported(str(error).replace(str(source), program.name)) from error
    path.write_bytes(bundle.to_bytes())


def _converted(program: Program, source: Path) -> Bundle:
    """Anew with layers for any length where ncnn does not carry the batch by itself, and a row is more than a vector."""
    specs, shapes = onnx_specs(source), _shapes(program, 1)
    bundle = convert(source, *specs, shapes, program.name)
    lost = [port.spec for port in bundle.inputs if port.batch == NO_BATCH and len(port.spec.shape) > 2]
    if any(isinstance(spec.shape[0], str) for spec in lost):
        return convert(source, *specs, shapes, program.name, _shapes(program, 2))
    return bundle


def _shapes(program: Program, batch: int) -> Shapes:
    """With dynamic first axes, and those of their names, at `batch`. What pnnx makes of one item serves more of them, and not the other way round."""
    arrays = program.laid_out(program.inputs)
    rows = {axis.name for name in arrays if (axis := program.axis(name, 0))}

    def length(name: str, number: int, there: int) -> int:
        axis = program.axis(name, number)
        return batch if axis and axis.name in rows else there

    return tuple(tuple(length(name, *place) for place in enumerate(array.shape)) for name, array in arrays.items())

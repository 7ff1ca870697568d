"""From a program to a `.ncnn` file, by way of ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgedl import registry
from edgedl.errors import EngineFailed, Unsupported
from edgedl.exporter import Program
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
            bundle = convert(source, *onnx_specs(source), _shapes(program), program.name)
        except EngineFailed as error:
            raise Unsupported(str(error).replace(str(source), program.name)) from error
    path.write_bytes(bundle.to_bytes())


def _shapes(program: Program) -> Shapes:
    """A dynamic first axis at 1: what pnnx makes of one item serves more of them, and not the other way round."""
    arrays = program.laid_out(program.inputs).items()
    return tuple((1, *array.shape[1:]) if program.axis(name, 0) else array.shape for name, array in arrays)

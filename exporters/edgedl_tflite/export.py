"""A program to a .tflite file in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl_tflite import fixed_length, flatbuffer, loops
from edgedl_tflite.convert import convert
from edgedl_tflite.dynamic import convert_dynamic
from edgedl_tflite.signatures import convert_signatures


def export(program: Program, path: Path) -> None:
    """Write `program` to `path`; Unsupported names the operator or axis that TFLite cannot carry."""
    path.write_bytes(flatbuffer.serialize(_convert(program)))


def _convert(program: Program) -> Any:
    _refuse_float64(program)
    if program.signatures:
        return convert_signatures(program)
    return convert_dynamic(program) if program.dynamic_axes else _convert_static(program)


def _convert_static(program: Program) -> Any:
    model = convert(program, program.inputs)
    loops.expand(model)
    fixed_length.refuse_missing_kernels(program, model, program.inputs)
    return model


def _refuse_float64(program: Program) -> None:
    double = [f"its input {name!r}" for name, array in program.inputs.items() if array.dtype.name == "float64"]
    if double:
        raise Unsupported(
            f"{program.name} cannot be converted to TFLite: {double[0]} is float64, and its kernels are not; use module.float() and float32 inputs"
        )

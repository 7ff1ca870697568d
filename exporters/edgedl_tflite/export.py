"""A program to a .tflite file in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedl.exporter import Program
from edgedl_tflite import flatbuffer, loops
from edgedl_tflite.convert import convert
from edgedl_tflite.dynamic import convert_dynamic
from edgedl_tflite.signatures import convert_signatures


def export(program: Program, path: Path) -> None:
    """Write `program` to `path`; Unsupported names the operator or axis that TFLite cannot carry."""
    path.write_bytes(flatbuffer.serialize(_convert(program)))


def _convert(program: Program) -> Any:
    if program.signatures:
        return convert_signatures(program)
    return convert_dynamic(program) if program.dynamic_axes else _convert_static(program)


def _convert_static(program: Program) -> Any:
    model = convert(program, program.inputs)
    loops.expand(model)
    return model

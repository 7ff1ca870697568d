"""The last word on a dynamic file: LiteRT runs it at lengths that it was not converted at, and torch agrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.schemes import SCHEMES
from edgedl.spec import Array, Axis, resize
from edgedl.verify.parity import relative_rms
from edgedl_tflite import flatbuffer
from edgedl_tflite.convert import channels_last_inputs
from edgedl_tflite.family import axes_by_name, tracing_pairs, unsupported
from edgedl_tflite.quiet import quiet

_TOLERANCE = 1e-3
"""Relative and absolute. This catches a wrong graph; the gate of the command line is the one for accuracy."""
_ROUNDED = SCHEMES["w8a8"].tolerance.relative_rms
"""Relative RMS error, where the program rounds to integers: what one kernel rounds otherwise grows from layer to layer."""


def settle(program: Program, model: Any) -> Any:
    """The model with its written shapes at the lowest lengths; Unsupported if it is wrong at any length tried."""
    content = flatbuffer.serialize(model)
    right: list[dict[str, int]] = []
    for lengths in _trials(program):
        with quiet():
            problem, shapes = _try(program, content, lengths)
        if problem:
            raise _refusal(program, problem, lengths, right)
        if not right:
            _write_shapes(model, shapes)
        right.append(lengths)
    return model


def _refusal(program: Program, problem: str, lengths: Mapping[str, int], right: list[dict[str, int]]) -> Unsupported:
    """The axis at fault, the user's line that treats the length otherwise, and the range over which the file is right."""
    problem = f"at {', '.join(f'{name}={length}' for name, length in lengths.items())} {problem}"
    critical = {name: lines for name, lines in program.critical_lengths.items() if lines}
    name = next((name for name in critical if lengths[name] in critical[name]), next(iter(critical), None))
    if name is None:
        return unsupported(program, problem)
    nearest = min(critical[name], key=lambda length: abs(length - lengths[name]))
    axis, below = axes_by_name(program.dynamic_axes)[name][2], [o[name] for o in right if o[name] < lengths[name]]
    bound = (axis.low, max(below)) if below and max(below) > axis.low else None
    return unsupported(program, problem, name, critical[name][nearest], bound)


def _trials(program: Program) -> list[dict[str, int]]:
    """The lowest lengths of all axes, each axis at its critical lengths, and lengths that no conversion was made at."""
    axes = {name: axis for name, (_, _, axis) in axes_by_name(program.dynamic_axes).items()}
    used = {length for lengths in tracing_pairs(program.dynamic_axes) for length in lengths.values()}
    lowest = {name: axis.low for name, axis in axes.items()}
    critical = [{**lowest, name: n} for name, lengths in program.critical_lengths.items() for n in lengths]
    return [lowest, *critical, {name: _unused(axis, used) for name, axis in axes.items()}]


def _unused(axis: Axis, used: set[int]) -> int:
    inside = [n for n in range(axis.low + 1, min(axis.high, axis.low + 64) + 1) if n not in used]
    return inside[len(inside) // 2] if inside else axis.high


def _try(program: Program, content: bytes, lengths: Mapping[str, int]) -> tuple[str | None, list[tuple[int, ...]]]:
    """(what is wrong or None, the shapes of all tensors)."""
    inputs = {n: np.ascontiguousarray(a) for n, a in resize(program.inputs, program.dynamic_axes, lengths).items()}
    return _try_inputs(program, content, inputs)


def problem_at(program: Program, content: bytes, inputs: Mapping[str, Array]) -> str | None:
    """What is wrong with a file at the shapes of `inputs`; None if it does what the model does."""
    with quiet():
        return _try_inputs(program, content, inputs)[0]


def _try_inputs(
    program: Program, content: bytes, inputs: Mapping[str, Array]
) -> tuple[str | None, list[tuple[int, ...]]]:
    try:
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in program.module(*(torch.from_numpy(a) for a in inputs.values()))]
    except Exception as error:
        return f"the model itself raises: {_first_line(error)}", []
    try:
        outputs, shapes = _run(content, _as_written(program, inputs))
    except (RuntimeError, ValueError) as error:
        return f"LiteRT says: {_first_line(error)}", []
    problems = (
        _disagreement(*each, program.quantized) for each in zip(program.outputs, outputs, expected, strict=True)
    )
    return next((problem for problem in problems if problem), None), shapes


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _as_written(program: Program, inputs: Mapping[str, Array]) -> list[Array]:
    """The inputs in the file's layout and dtypes."""
    nhwc = channels_last_inputs(inputs, program.channels_last)
    arrays = [a.transpose(0, 2, 3, 1) if i in nhwc else a for i, a in enumerate(inputs.values())]
    narrower = {"int64": np.int32, "float64": np.float32}
    return [np.ascontiguousarray(a, narrower.get(a.dtype.name, a.dtype)) for a in arrays]


def _run(content: bytes, arrays: list[Array]) -> tuple[list[Array], list[tuple[int, ...]]]:
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate would hide the shapes of its tensors
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver, num_threads=1)
    details = interpreter.get_input_details()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    shapes = {d["index"]: tuple(int(n) for n in d["shape"]) for d in interpreter.get_tensor_details()}
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    return outputs, [shapes[index] for index in sorted(shapes)]


def _disagreement(name: str, output: Array, expected: Array, rounded: bool) -> str | None:
    if output.shape != expected.shape:
        return f"output {name!r} has shape {output.shape}, not {expected.shape}"
    close = relative_rms(output, expected) <= _ROUNDED if rounded else _is_close(output, expected)
    return None if close else f"output {name!r} differs from the model's"


def _is_close(output: Array, expected: Array) -> bool:
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    return np.allclose(output, expected, rtol=_TOLERANCE, atol=_TOLERANCE * largest)


def _write_shapes(model: Any, shapes: list[tuple[int, ...]]) -> None:
    for tensor, shape in zip(model.subgraphs[0].tensors, shapes, strict=False):
        if flatbuffer.constant(model, tensor) is None:
            tensor.shape = np.array(shape, np.int32)

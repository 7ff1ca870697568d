"""Every tensor that a file computes on the way, as real numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgedl.errors import EngineFailed
from edgedl.runtime import accept
from edgedl.spec import Array, Feeds
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import specs
from edgedl_tflite.quiet import quiet


def intermediates(path: Path, feeds: Feeds) -> Iterator[tuple[str, Array]]:
    """(tensor name, values) in the order of computation, constants left out; integers with a quantization come dequantized.

    InvalidArtifact, InvalidTensor or EngineFailed as in a session.
    """
    model = read_checked(path)
    inputs = accept(feeds, specs(model)[0])
    interpreter = run_keeping_all(path, inputs)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for index in _computed(model):
        if index in details and (array := _tensor(interpreter, index)) is not None:
            yield flatbuffer.text(model.subgraphs[0].tensors[index].name), _real(array, details[index])


def run_keeping_all(path: Path, inputs: Feeds) -> Any:
    """The interpreter after one run of the file in plain kernels, which keeps every tensor."""
    try:
        with quiet():
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            interpreter = Interpreter(
                str(path), experimental_preserve_all_tensors=True, experimental_op_resolver_type=resolver, num_threads=1
            )
            details = interpreter.get_input_details()
            for detail, array in zip(details, inputs.values(), strict=True):
                interpreter.resize_tensor_input(detail["index"], array.shape)
            interpreter.allocate_tensors()
            for detail, array in zip(details, inputs.values(), strict=True):
                interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise EngineFailed(f"LiteRT could not run {path}: {str(error).splitlines()[0]}") from error
    return interpreter


def _computed(model: Any) -> Iterator[int]:
    """Indices of the tensors that the main graph computes from its inputs, in order; a dequantized weight is a constant."""
    graph = model.subgraphs[0]
    constant = {index for index, tensor in enumerate(graph.tensors) if flatbuffer.constant(model, tensor) is not None}
    for operator in graph.operators or []:
        outputs = flatbuffer.numbers(operator.outputs)
        if constant.issuperset(index for index in flatbuffer.numbers(operator.inputs) if index >= 0):
            constant.update(outputs)
        else:
            yield from outputs


def _tensor(interpreter: Any, index: int) -> Array | None:
    """The values, or None where the engine keeps none (an optional output)."""
    try:
        array: Array = interpreter.get_tensor(index)
    except ValueError:
        return None
    return array


def _real(array: Array, detail: dict[str, Any]) -> Array:
    """Stored integers as real numbers; per channel where the tensor has a scale for each."""
    parameters = detail["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    if not len(scales):
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[parameters["quantized_dimension"]] = len(scales)
    real: Array = (array.astype(np.float32) - zero_points.reshape(shape)) * scales.reshape(shape)
    return real.astype(np.float32)

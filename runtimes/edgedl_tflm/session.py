"""One interpreter of TensorFlow Lite Micro behind edgedl's Session."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from tflite_micro import runtime

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidTensor, Unavailable
from edgedl.runtime import Session, Source, dequantize
from edgedl.spec import DTYPES, Array, Feeds, Quantization, TensorSpec

_ARENAS = tuple(1 << shift for shift in (24, 27, 30))
"""bytes that are tried in turn; what is not used is not touched"""


class TflmSession(Session):
    """inputs, outputs: by the names of the file's first signature, with the lengths that are written in the file."""

    def __init__(self, source: Source, device: str) -> None:
        assert isinstance(source, Artifact)
        if device != "cpu":
            raise Unavailable(f"device {device!r} is not here: TensorFlow Lite Micro runs on 'cpu' in edgedl")
        content = source.path.read_bytes()
        self._interpreter, self._lock = _opened(content), threading.Lock()
        inputs, outputs = _names(content)
        super().__init__(
            tuple(_spec(name, self._interpreter.get_input_details(i)) for i, name in enumerate(inputs)),
            tuple(_spec(name, self._interpreter.get_output_details(i)) for i, name in enumerate(outputs)),
            f"tflite-micro {version('tflite-micro')}",
            device,
        )

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        arrays = [self._checked(feeds, spec) for spec in self.inputs]
        if len(feeds) != len(arrays):
            raise InvalidTensor(f"expected {len(arrays)} inputs, got {len(feeds)}")
        with self._lock:
            for number, array in enumerate(arrays):
                self._interpreter.set_input(array, number)
            self._interpreter.invoke()
            return {spec.name: _real(self._interpreter.get_output(n), spec) for n, spec in enumerate(self.outputs)}

    def _checked(self, feeds: Feeds, spec: TensorSpec) -> Array:
        array = feeds[spec.name]
        if array.dtype.name != spec.dtype or not spec.accepts(array.shape):
            raise InvalidTensor(f"input {spec.name!r} is {array.dtype}{list(array.shape)}, expected {spec}")
        return array


def _opened(content: bytes) -> Any:
    for size in _ARENAS:
        try:
            return runtime.Interpreter.from_bytes(content, arena_size=size)
        except RuntimeError as error:
            refusal = error
    raise EngineFailed(
        f"TensorFlow Lite Micro cannot open the model: {refusal}; a kernel or type that it lacks?"
    ) from refusal


def _names(content: bytes) -> tuple[list[str], list[str]]:
    """The interpreter knows numbers only: the names are the signature's, or those of the tensors."""
    model = runtime.convert_bytearray_to_object(content)
    graph, signature = model.subgraphs[0], next(iter(model.signatureDefs or []), None)
    sides = ((graph.inputs, "inputs"), (graph.outputs, "outputs"))
    inputs, outputs = (_side(graph, indices, getattr(signature, side, None)) for indices, side in sides)
    return inputs, outputs


def _side(graph: Any, indices: Sequence[int], entries: Sequence[Any] | None) -> list[str]:
    named = {entry.tensorIndex: entry.name.decode() for entry in entries or []}
    return [named.get(int(index)) or graph.tensors[index].name.decode() for index in indices]


def _spec(name: str, detail: dict[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"]).name
    if dtype not in DTYPES:
        raise EngineFailed(f"tensor {name!r} is a {dtype}: edgedl carries tensors of {', '.join(DTYPES)}")
    found = detail["quantization_parameters"]
    scales, zeros = found["scales"], found["zero_points"]
    quantization = Quantization(float(scales[0]), int(zeros[0])) if len(scales) == 1 and scales[0] else None
    return TensorSpec(name, tuple(map(int, detail["shape"])), dtype, quantization)


def _real(values: Array, spec: TensorSpec) -> Array:
    return dequantize(values, spec.quantization) if spec.quantization else values

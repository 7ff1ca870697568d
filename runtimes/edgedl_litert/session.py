"""One LiteRT interpreter behind edgedl's Session."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidTensor, Unavailable
from edgedl.runtime import Session, Source, dequantize
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl_litert.engine import engine_module, engine_version, open_interpreter
from edgedl_litert.specs import UNNAMED, Binding, bindings


class LitertSession(Session):
    """The interpreter's own checks refuse a wrong dtype or shape; a lock serves one caller at a time.

    inputs, outputs: by the signature's names and, where there is a manifest, its axis names.
    """

    def __init__(self, source: Source, device: str, threads: int | None) -> None:
        assert isinstance(source, Artifact)
        if device != "cpu":
            raise Unavailable(f"device {device!r} is not here: LiteRT runs on 'cpu' in edgedl")
        interpreter = open_interpreter(source.path, threads)
        inputs, outputs = bindings(interpreter, source.manifest)
        engine = engine_version(engine_module())
        super().__init__(tuple(b.spec for b in inputs), tuple(b.spec for b in outputs), engine, device)
        self._interpreter: Any = interpreter
        self._lock = threading.Lock()
        self._sources = [(binding.spec.name, binding.index) for binding in inputs]
        self._results = [(binding.spec.name, binding.index) for binding in outputs]
        self._quantizations = {b.spec.name: b.spec.quantization for b in outputs if b.spec.quantization}
        self._dynamic = [b for b in inputs if any(isinstance(n, str) for n in b.spec.shape)]
        self._shapes: list[tuple[int, ...]] | None = None
        self._bind()

    def _bind(self) -> None:
        """Keep the engine's functions at hand: looking them up costs as much as setting a small tensor."""
        self._count = len(self._sources)
        self._set_tensor, self._invoke_engine, self._get_tensor = (
            self._interpreter.set_tensor,
            self._interpreter.invoke,
            self._interpreter.get_tensor,
        )

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        if len(feeds) != self._count:
            raise InvalidTensor(f"expected {self._count} inputs, got {len(feeds)}")
        with self._lock:
            if self._dynamic:
                self._resize(feeds)
            for name, index in self._sources:
                array = feeds[name]
                if not isinstance(array, np.ndarray):
                    raise InvalidTensor(f"input {name!r} is a {type(array).__name__}, expected an array")
                self._set_tensor(index, array)
            self._invoke_engine()
            get_tensor = self._get_tensor
            outputs = {name: get_tensor(index) for name, index in self._results}
        for name, quantization in self._quantizations.items():
            outputs[name] = dequantize(outputs[name], quantization)
        return outputs

    def _resize(self, feeds: Feeds) -> None:
        """Allocate anew if a dynamic axis has another length than in the last run."""
        shapes = [feeds[binding.spec.name].shape for binding in self._dynamic]
        if shapes == self._shapes:
            return
        _check(self._dynamic, feeds)
        self._shapes = None
        for binding, shape in zip(self._dynamic, shapes, strict=True):
            self._interpreter.resize_tensor_input(binding.index, shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def close(self) -> None:
        """Release the interpreter; waits for a run in progress."""
        with self._lock:
            self._set_tensor = self._invoke_engine = self._get_tensor = _closed
            self._interpreter = None


def _closed(*_: Any) -> Any:
    raise EngineFailed("the session is closed: load the model again")


def _check(dynamic: list[Binding], feeds: Feeds) -> None:
    """InvalidTensor for a wrong shape, or for axes of one name with several lengths."""
    lengths: dict[str, int] = {}
    for spec in (binding.spec for binding in dynamic):
        shape = feeds[spec.name].shape
        if not spec.accepts(shape) or 0 in shape:
            raise InvalidTensor(f"input {spec.name!r} has shape {shape}, expected {spec}")
        for name, length in _named(spec, shape).items():
            if lengths.setdefault(name, length) != length:
                raise InvalidTensor(f"axis {name!r} has length {lengths[name]} and, in input {spec.name!r}, {length}")


def _named(spec: TensorSpec, shape: tuple[int, ...]) -> Mapping[str, int]:
    axes = zip(spec.shape, shape, strict=True)
    return {axis: length for axis, length in axes if isinstance(axis, str) and axis != UNNAMED}

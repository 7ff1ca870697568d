"""One LiteRT interpreter behind edgedl's Session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidTensor, Unavailable
from edgedl.runtime import NO_OPTIONS, Options, Session, Source, dequantize, option_value
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl_litert import signatures
from edgedl_litert.engine import KERNELS, engine_module, engine_version, open_interpreter
from edgedl_litert.specs import UNNAMED, Binding, bindings

Lock = AbstractContextManager[Any]
Invoke = Callable[[Feeds], dict[str, Array]]


class LitertSession(Session):
    """The interpreter's own checks refuse a wrong dtype or shape; a lock serves one caller at a time.

    inputs, outputs: by the signature's names and, where there is a manifest, its axis names.
    """

    def __init__(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> None:
        assert isinstance(source, Artifact)
        if device != "cpu":
            raise Unavailable(f"device {device!r} is not here: LiteRT runs on 'cpu' in edgedl")
        interpreter = open_interpreter(source.path, threads, option_value(options, "kernels", KERNELS, "xnnpack"))
        inputs, outputs = bindings(interpreter, source.manifest)
        engine = engine_version(engine_module())
        super().__init__(tuple(b.spec for b in inputs), tuple(b.spec for b in outputs), engine, device)
        self._lock = threading.RLock()
        if len(interpreter._get_full_signature_list()) > 1:
            run = signatures.bind(interpreter, self._lock)
            self.inputs = signatures.widened(interpreter, self.inputs, "inputs")
            self.outputs = signatures.widened(interpreter, self.outputs, "outputs")
            self._bound = _dequantizing(run, outputs)
        else:
            self._bound = _bind(interpreter, inputs, outputs, self._lock)
        self._invoke = self._bound  # type: ignore[assignment, method-assign]  # one call less per run

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        return self._bound(feeds)

    def close(self) -> None:
        """Release the interpreter; waits for a run in progress."""
        with self._lock:
            self._bound = self._invoke = _closed  # type: ignore[assignment, method-assign]


def _closed(_: Feeds) -> dict[str, Array]:
    raise EngineFailed("the session is closed: load the model again")


def _bind(interpreter: Any, inputs: list[Binding], outputs: list[Binding], lock: Lock) -> Invoke:
    """The run of a model as one closure, with nothing looked up or checked twice.

    It calls the engine's extension object itself: the methods of `Interpreter` only pass on to it.
    """
    engine, ndarray, count = interpreter._interpreter, np.ndarray, len(inputs)
    set_tensor, invoke, get_tensor = engine.SetTensor, engine.Invoke, engine.GetTensor
    sources = [(binding.spec.name, binding.index) for binding in inputs]
    results = [(binding.spec.name, binding.index) for binding in outputs]

    def run(feeds: Feeds) -> dict[str, Array]:
        if len(feeds) != count:
            raise InvalidTensor(f"expected {count} inputs, got {len(feeds)}")
        with lock:
            for name, index in sources:
                array = feeds[name]
                if array.__class__ is not ndarray:
                    raise InvalidTensor(f"input {name!r} is a {type(array).__name__}, expected an array")
                set_tensor(index, array)
            invoke()
            outputs = {}
            for name, index in results:
                outputs[name] = get_tensor(index, 0)
            return outputs

    resized = _resizing(run, engine, inputs, lock)
    return _dequantizing(resized, outputs)


def _resizing(run: Invoke, engine: Any, inputs: list[Binding], lock: Lock) -> Invoke:
    """Allocates anew when a dynamic axis has another length than in the run before; `run` itself for a static model.

    The engine refuses an array of another shape than it is allocated for, so an unchanged length costs nothing.
    """
    dynamic = [binding for binding in inputs if any(isinstance(n, str) for n in binding.spec.shape)]
    if not dynamic:
        return run

    def run_resized(feeds: Feeds) -> dict[str, Array]:
        try:
            return run(feeds)
        except ValueError:
            with lock:
                _resize(engine, dynamic, feeds)
                return run(feeds)

    return run_resized


def _dequantizing(run: Invoke, outputs: list[Binding]) -> Invoke:
    """Gives quantized outputs as real numbers; `run` itself if there are none."""
    quantizations = [(b.spec.name, b.spec.quantization) for b in outputs if b.spec.quantization]
    if not quantizations:
        return run

    def run_dequantized(feeds: Feeds) -> dict[str, Array]:
        results = run(feeds)
        for name, quantization in quantizations:
            results[name] = dequantize(results[name], quantization)
        return results

    return run_dequantized


def _resize(engine: Any, dynamic: list[Binding], feeds: Feeds) -> None:
    """Give the interpreter the shapes of the feeds; InvalidTensor if the model does not take them."""
    shapes = [feeds[binding.spec.name].shape for binding in dynamic]
    _check([binding.spec for binding in dynamic], shapes)
    for binding, shape in zip(dynamic, shapes, strict=True):
        engine.ResizeInputTensor(binding.index, np.array(shape, np.int32), True)
    engine.AllocateTensors()


def _check(specs: list[TensorSpec], shapes: list[tuple[int, ...]]) -> None:
    """InvalidTensor for a wrong shape, or for axes of one name with several lengths."""
    lengths: dict[str, int] = {}
    for spec, shape in zip(specs, shapes, strict=True):
        if not spec.accepts(shape) or 0 in shape:
            raise InvalidTensor(f"input {spec.name!r} has shape {shape}, expected {spec}")
        for name, length in _named(spec, shape).items():
            if lengths.setdefault(name, length) != length:
                raise InvalidTensor(f"axis {name!r} has length {lengths[name]} and, in input {spec.name!r}, {length}")


def _named(spec: TensorSpec, shape: tuple[int, ...]) -> Mapping[str, int]:
    axes = zip(spec.shape, shape, strict=True)
    return {axis: length for axis, length in axes if isinstance(axis, str) and axis != UNNAMED}

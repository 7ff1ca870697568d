"""Running a model: `load`, `Session`, and what a runtime is. All that a device embeds; needs numpy and one engine."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidTensor, Unavailable, UnknownName
from edgedl.proven_lengths import checked
from edgedl.reference import TaskReference
from edgedl.spec import Array, Feeds, Quantization, State, TensorSpec

T = TypeVar("T")
Source = Artifact | TaskReference
Options = Mapping[str, str]
"""options of an engine, by name"""
NO_OPTIONS: Options = MappingProxyType({})


class Session(ABC):
    """A model in an engine, ready to run; close it, or use it as a context manager.

    inputs, outputs: specs in the model's order. engine: name and version of what really runs. device: `cpu` or `cuda`.
    """

    def __init__(
        self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], engine: str, device: str
    ) -> None:
        self.inputs, self.outputs, self.engine, self.device = inputs, outputs, engine, device

    timed: Callable[[Feeds], tuple[int, dict[str, Array]]] | None = None
    """Where an engine times a run better than the host's clock around `run`: (nanoseconds, outputs) of one run."""

    states: tuple[State, ...] = ()
    """What a step model carries; `load` takes it from the manifest."""

    @abstractmethod
    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        """Run arrays of exactly the specified names, dtypes and shapes; thread-safe."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Outputs by name, from arrays by input name; may be called from several threads.

        int64 and int32 stand in for each other where the values fit. An input with a quantization takes real numbers
        (float32) or stored ones; outputs with a quantization come back as real numbers (float32).
        InvalidTensor says which input is wrong and what was expected; EngineFailed what the engine said.
        """
        try:
            return self._invoke(feeds)
        except Exception as refusal:
            accepted = accept(feeds, self.inputs)
            try:
                return self._invoke(accepted)
            except InvalidTensor:
                raise
            except Exception:
                raise EngineFailed(f"{self.engine} could not run the model: {_first_line(refusal)}") from refusal

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Outputs in the model's order, from arrays in the model's order."""
        if len(arrays) != len(self.inputs):
            raise InvalidTensor(f"expected {len(self.inputs)} inputs ({_names(self.inputs)}), got {len(arrays)}")
        outputs = self.run({spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)})
        return tuple(outputs[spec.name] for spec in self.outputs)

    def stream(self, initial: Feeds | None = None) -> Stream:
        """A sequence fed step by step; `initial` gives states other than zero. InvalidTensor if this is no step model."""
        if not self.states:
            raise InvalidTensor("this is no step model: write one with edgedl export --streaming")
        return Stream(self, self.states, initial)

    def close(self) -> None:  # noqa: B027 - most engines have nothing to release
        """Release the engine; the session cannot run afterwards."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stream:
    """Runs a step model over a sequence, and carries its states from each step to the next."""

    def __init__(self, session: Session, states: tuple[State, ...], initial: Feeds | None = None) -> None:
        self._session, self._pairs = session, states
        self.reset(initial)

    def reset(self, initial: Feeds | None = None) -> None:
        """Begin a new sequence. InvalidTensor for a state of another name."""
        self.states = dict(initial or {})
        if unknown := self.states.keys() - {state.input for state in self._pairs}:
            known = ", ".join(state.input for state in self._pairs)
            raise InvalidTensor(f"no state {min(unknown)!r}: the model carries {known}")

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs of one step, from its inputs; the states are no business of the caller."""
        outputs = self._session.run({**self._zeros(feeds), **self.states, **feeds})
        self.states = {state.input: outputs.pop(state.output) for state in self._pairs}
        return outputs

    def _zeros(self, feeds: Feeds) -> dict[str, Array]:
        """The states at the start, with the lengths of the dynamic axes that the feeds show; none after the first step."""
        specs = {spec.name: spec for spec in self._session.inputs}
        missing = [specs[state.input] for state in self._pairs if state.input not in self.states]
        if not missing:
            return {}
        lengths = {
            d: n
            for name in feeds
            if name in specs
            for d, n in zip(specs[name].shape, np.shape(feeds[name]), strict=False)
        }
        return {
            s.name: np.zeros([d if isinstance(d, int) else lengths.get(d, 1) for d in s.shape], np.float32)
            for s in missing
        }


class Runtime(Protocol):
    """One per engine, found under the entry-point group `edgedl.runtimes`.

    formats: what it loads (`torch` stands for a task reference). requires, extra: as in Exporter.
    A plugin may have `options`, a mapping from the name of an engine's option to what it does; its `load` then takes the
    chosen ones as a fourth argument. It may have `modules`: what `load` imports, where that is not `requires`; and
    `profile(source, device, threads, options, sets, runs)`, which gives an edgedl.measure.Profile.
    """

    name: str
    formats: frozenset[str]
    requires: tuple[str, ...]
    extra: str

    def load(self, source: Source, device: str, threads: int | None) -> Session:
        """Unavailable if the device is not here: a fall-back is an error. EngineFailed if the engine refuses the model."""


def load(
    source: str | Path | Source,
    runtime: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    options: Options = NO_OPTIONS,
    unproven: bool = False,
) -> Session:
    """A session for a model file, an artifact group (see load_group) or, in eager torch, a task reference.

    runtime: `auto` takes the first installed engine for the format; `fastest` measures all of them once and remembers
    (edgedl.fastest). threads: None leaves the choice to the engine.
    options: of the engine, by name; UnknownName for one that it does not have.
    unproven: take lengths of dynamic axes that the manifest does not list as proven; without it they raise InvalidTensor.
    """
    source = as_source(source)
    if threads is not None and threads < 1:
        raise InvalidTensor(f"threads={threads}: expected 1 or more")
    if isinstance(source, Artifact) and source.group:
        from edgedl.group_session import load_group

        return load_group(source, runtime, device, threads, options)
    plugin = _runtime_for(source, named(source, runtime, device, threads))
    session = plugin.load(source, device, threads, *_options(plugin, options))
    if isinstance(source, Artifact) and source.manifest:
        session.states = source.manifest.states
        if not unproven:
            session._invoke = checked(session._invoke, source.manifest)  # type: ignore[method-assign, assignment]
    return session


def named(source: Source, runtime: str, device: str, threads: int | None) -> str:
    """The runtime's name, with `fastest` resolved where there is a choice: model files on the processor."""
    if runtime != "fastest" or not isinstance(source, Artifact) or device != "cpu":
        return "auto" if runtime == "fastest" else runtime
    from edgedl.fastest import fastest

    return fastest(source, threads).runtime


def _options(plugin: Runtime, given: Options) -> tuple[Options, ...]:
    known: Options = getattr(plugin, "options", NO_OPTIONS)
    for name in given:
        if name not in known:
            raise UnknownName(f"option of {plugin.name}", name, known)
    return (given,) if given else ()


def option_value(options: Options, name: str, known: Mapping[str, T], default: str) -> T:
    """What an engine makes of an option's value; UnknownName for one that is not known."""
    value = options.get(name, default)
    if value not in known:
        raise UnknownName(f"value of the option {name}", value, known)
    return known[value]


def engine_of(source: Source, runtime: str) -> Runtime:
    """The runtime that `load` would take, its engine imported, so that the cost of importing and of loading can be told apart."""
    plugin = _runtime_for(source, runtime)
    for names in getattr(plugin, "modules", plugin.requires):
        importlib.import_module(next(name for name in names.split("|") if registry.installed(name)))
    return plugin


def as_source(source: str | Path | Source) -> Source:
    """A path with a model suffix is an artifact, all else a task reference."""
    if isinstance(source, Artifact | TaskReference):
        return source
    return TaskReference(str(source)) if is_reference(str(source)) else Artifact.open(source)


def is_reference(text: str) -> bool:
    """Whether the text names a task (`net.py:task`, `zoo:digits`) and not a model file."""
    return ":" in text and not Path(text).exists()


def runtimes_for(source: Source) -> list[str]:
    """Names of the installed engines that load the source; first those that its exporter proves files with."""
    fmt = format_of(source)
    proving = registry.proving_runtimes(fmt)
    usable = registry.usable_runtimes().items()
    able = [name for name, plugin in usable if fmt in plugin.formats and not getattr(plugin, "named_only", False)]
    return sorted(able, key=lambda name: proving.index(name) if name in proving else len(proving))


def format_of(source: Source) -> str:
    return source.format if isinstance(source, Artifact) else "torch"


def _runtime_for(source: Source, name: str) -> Runtime:
    if name == "auto":
        names = runtimes_for(source)
        if not names:
            raise Unavailable(f"no engine for {format_of(source)} models is installed: {_remedy(format_of(source))}")
        name = names[0]
    plugin = registry.runtime(name)
    if format_of(source) not in plugin.formats:
        able = ", ".join(runtimes_for(source)) or _remedy(format_of(source))
        raise InvalidTensor(f"runtime {name!r} does not load {format_of(source)} models; these do: {able}")
    return plugin


def _remedy(fmt: str) -> str:
    extra = {"onnx": "ort", "tflite": "litert", "ncnn": "ncnn", "torch": "train"}.get(fmt)
    return f"pip install 'edgedl[{extra}]'" if extra else f"install a plugin that loads {fmt}"


def accept(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """The feeds in exactly the specified dtypes; InvalidTensor for what cannot be taken without loss."""
    if not isinstance(feeds, Mapping):
        raise InvalidTensor(
            f"expected a dictionary of arrays by input name ({_names(specs)}), got {type(feeds).__name__}"
        )
    if set(feeds) != {spec.name for spec in specs}:
        raise InvalidTensor(f"expected the inputs {_names(specs)}, got {', '.join(map(str, feeds)) or 'none'}")
    return {spec.name: _accept(np.asarray(feeds[spec.name]), spec) for spec in specs}


def _accept(array: Array, spec: TensorSpec) -> Array:
    if not spec.accepts(array.shape):
        raise InvalidTensor(f"input {spec.name!r} has shape {array.shape}, expected {_shape(spec)}")
    dtype = np.dtype(spec.dtype)
    if array.dtype == dtype:
        return np.asarray(array, order="C")
    if spec.quantization and array.dtype.kind == "f":
        return quantize(array, spec.quantization, dtype)
    if {array.dtype.name, spec.dtype} == {"int32", "int64"} and np.array_equal(array.astype(dtype), array):
        return np.asarray(array, dtype)
    raise InvalidTensor(
        f"input {spec.name!r} has dtype {array.dtype}, expected {spec.dtype}: {_conversion(array, spec)}"
    )


def _conversion(array: Array, spec: TensorSpec) -> str:
    if {array.dtype.name, spec.dtype} == {"int32", "int64"}:
        return "its values do not fit"
    return f"convert it with .astype('{spec.dtype}')"


def quantize(array: Array, quantization: Quantization, dtype: np.dtype[Any]) -> Array:
    """Stored integers of real numbers: round(real / scale) + zero_point, clipped to the dtype."""
    limits = np.iinfo(dtype)
    stored = np.rint(array / quantization.scale) + quantization.zero_point
    clipped: Array = np.clip(stored, limits.min, limits.max).astype(dtype)
    return clipped


def dequantize(array: Array, quantization: Quantization) -> Array:
    """Real numbers (float32) of stored integers."""
    real: Array = (array.astype(np.float32) - quantization.zero_point) * np.float32(quantization.scale)
    return real


def _shape(spec: TensorSpec) -> str:
    return "(" + ", ".join(map(str, spec.shape)) + ("," if len(spec.shape) == 1 else "") + ")"


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""What a call of a module leaves behind, and whether later calls depend on it.

A file computes the same at every call. A module that keeps a value between calls (an updated buffer, an attribute set in
`forward`, a counter, a global) does not; a module that fills a cache, or keeps its last attention map for inspection, does.
"""

from __future__ import annotations

import contextlib
import random
import sys
import traceback
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgedl.errors import InvalidReference
from edgedl.module_copy import can_hold_state, copied_value, full_copy, is_library
from edgedl.source_lines import user_line
from edgedl.spec import Array

TOLERANCE = 1e-5
"""Of the largest element: two calls that differ by less differ by rounding."""

_INTERNALS = frozenset(vars(torch.nn.Module()))
_MISSING = object()
_CONTAINERS = (dict, list, tuple, set, deque)
_REFERENCES = (types.MethodType, types.FunctionType, partial, torch.nn.Module)
Outputs = list[torch.Tensor]
Run = Callable[[torch.nn.Module, Mapping[str, Array]], list[tuple[str, torch.Tensor]]]


@dataclass(frozen=True)
class Place:
    """Where a value is kept: an attribute, buffer or parameter of a module within, or a name in a namespace outside of it.

    name: for people, as `Net.h` or `blocks.2.cache`.
    """

    name: str
    path: str
    key: str
    namespace: Any = None

    def read(self, module: torch.nn.Module) -> Any:
        return self._values(module).get(self.key, _MISSING)

    def write(self, module: torch.nn.Module, value: Any) -> None:
        """Set the value without the checks of `nn.Module`; what was not there goes again."""
        values = self._values(module)
        if value is _MISSING:
            values.pop(self.key, None)
        else:
            values[self.key] = value

    def _values(self, module: torch.nn.Module) -> Any:
        if self.namespace is not None:
            return self.namespace
        try:
            part = module.get_submodule(self.path)
        except AttributeError:  # it was made in a call
            return {}
        tables = (part._buffers, part._parameters)
        return next((table for table in tables if self.key in table), vars(part))


@dataclass(frozen=True)
class Behaviour:
    """What calls do to a module. returned: by the first one. written: places that they change. state: those of them on which later calls depend.

    stateful: whether later calls depend on earlier ones; so they may by what stands in no place that was found.
    """

    returned: list[tuple[str, torch.Tensor]]
    written: tuple[Place, ...] = ()
    state: tuple[Place, ...] = ()
    stateful: bool = False


@contextlib.contextmanager
def restored(module: torch.nn.Module, places: Sequence[Place]) -> Iterator[None]:
    """Set each place back after the block, which works on copies of the values."""
    before = [(place, place.read(module)) for place in places if place.namespace is None]
    for place, value in before:
        place.write(module, _working_copy(value))
    try:
        yield
    finally:
        for place, value in before:
            place.write(module, value)


def _working_copy(value: Any) -> Any:
    """Of a tensor by an operator, which a trace can follow; a parameter stays."""
    if isinstance(value, torch.nn.Parameter):
        return value
    return value.clone() if isinstance(value, torch.Tensor) else copied_value(value)


def observe(module: torch.nn.Module, run: Run, feeds: Mapping[str, Array]) -> Behaviour:
    """Call copies of the module in eval mode, and compare. InvalidReference for a module whose outputs are random.

    run: one call, which gives the named output tensors, and raises what the first call raises.
    """
    once, outside = full_copy(module), _outside(module)
    before = [copied_value(place.read(module)) for place in outside]
    with _seeded(0):
        returned = run(once, _copied(feeds))
    first = [tensor.detach().clone() for _, tensor in returned]
    written = _changed(module, once, outside, before)
    after = full_copy(once) if written else once
    second = _call(run, once, feeds, 1)
    if not written and _alike(first, second):
        return Behaviour(returned)
    from_outside = any(place.namespace is not None for place in written)
    if not from_outside and not _alike(first, _call(run, full_copy(module), feeds, 1)):
        raise InvalidReference(_random(module, run, feeds))
    if _alike(first, second) and _independent(module, once, run, feeds):
        return Behaviour(returned, written)
    call = partial(_call, run, feeds=feeds, seed=0)
    needed = tuple(place for place in written if _needed(place, module, after, first, second, call))
    return Behaviour(returned, written, needed or written, stateful=True)


def _independent(module: torch.nn.Module, called: torch.nn.Module, run: Run, feeds: Mapping[str, Array]) -> bool:
    """Whether a called copy and a new one agree on other inputs."""
    other = {name: np.roll(array, 1, -1) if array.ndim else array for name, array in feeds.items()}
    return _alike(_call(run, called, other, 0), _call(run, full_copy(module), other, 0))


def _copied(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in feeds.items()}


def _call(run: Run, module: torch.nn.Module, feeds: Mapping[str, Array], seed: int) -> Outputs | None:
    """The outputs with every source of random numbers seeded; None where the module raises, as it may at a second call."""
    with _seeded(seed):
        try:
            return [tensor.clone() for _, tensor in run(module, _copied(feeds))]
        except Exception:
            return None


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _alike(one: Outputs | None, other: Outputs | None) -> bool:
    if one is None or other is None or len(one) != len(other):
        return False
    return all(map(_close, one, other))


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    largest = float(torch.where(a.isfinite(), a.abs(), 0).max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * largest, equal_nan=True)


def _needed(place: Place, module: torch.nn.Module, after: torch.nn.Module, first: Any, second: Any, call: Any) -> bool:
    """Whether the second call is another with only this place changed, or with all of them changed but this one."""
    if place.namespace is not None:
        return True
    alone, without = full_copy(module), full_copy(after)
    place.write(alone, copied_value(place.read(after)))
    place.write(without, copied_value(place.read(module)))
    return not (_alike(first, call(alone)) and _alike(second, call(without)))


def _changed(
    module: torch.nn.Module, called: torch.nn.Module, outside: list[Place], before: list[Any]
) -> tuple[Place, ...]:
    """The places of a copy that differ from the module's, and those outside that differ from what they held before."""
    held = {(place.path, place.key): place.read(module) for place in _places(module)}
    inside = [
        place for place in _places(called) if not _same(held.pop((place.path, place.key), _MISSING), place.read(called), set())
    ]  # fmt: skip
    return (
        *inside,
        *(place for place, old in zip(outside, before, strict=True) if not _same(old, place.read(module), set())),
    )


def _places(module: torch.nn.Module) -> Iterator[Place]:
    root = type(module).__name__
    for path, part in module.named_modules():
        for key in (*part._buffers, *part._parameters, *(key for key in vars(part) if key not in _INTERNALS)):
            yield Place(f"{path or root}.{key}", path, key)


def _outside(module: torch.nn.Module) -> list[Place]:
    """Globals and class attributes that the user's `forward`s can reach, of kinds that can change."""
    found: dict[tuple[int, str], Place] = {}
    for kind in {type(part) for part in module.modules() if not is_library(type(part))}:
        for name, value in vars(kind).items():
            if _is_state(value) and not name.startswith("__"):
                found[id(kind), name] = Place(
                    f"{kind.__name__}.{name} (of the class)", "", name, _ClassAttributes(kind)
                )
        functions = [value for value in vars(kind).values() if isinstance(value, types.FunctionType)]
        for function in functions:
            for name in function.__code__.co_names:
                if _is_state(function.__globals__.get(name, _MISSING)):
                    found[id(function.__globals__), name] = Place(f"the global {name}", "", name, function.__globals__)
    return list(found.values())


@dataclass(frozen=True)
class _ClassAttributes:
    kind: type

    def get(self, key: str, default: Any) -> Any:
        return getattr(self.kind, key, default)


def _is_state(value: Any) -> bool:
    if isinstance(value, torch.nn.Module):
        return False
    return isinstance(value, (int, float, complex, torch.Tensor, np.ndarray, *_CONTAINERS)) or can_hold_state(value)


def _same(a: Any, b: Any, seen: set[tuple[int, int]]) -> bool:
    """Whether two values are equal as far as a module can tell; callables and modules are, where their types are."""
    if a is b or (id(a), id(b)) in seen:
        return True
    if type(a) is not type(b):
        return False
    seen.add((id(a), id(b)))
    if isinstance(a, torch.Tensor):
        return (a.dtype, a.shape) == (b.dtype, b.shape) and _equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, torch.Generator):
        return torch.equal(a.get_state(), b.get_state())
    if isinstance(a, dict):
        return len(a) == len(b) and all(_same(x, y, seen) for x, y in zip(a.values(), b.values(), strict=True))
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(_same(x, y, seen) for x, y in zip(a, b, strict=True))
    if can_hold_state(a):
        return _same(vars(a), vars(b), seen)
    return isinstance(a, _REFERENCES) or not isinstance(a, int | float | complex | str | set | bytes) or bool(a == b)


def refusal(
    module: torch.nn.Module, behaviour: Behaviour, call: Callable[[torch.nn.Module], object]
) -> InvalidReference:
    """What to raise for a module whose outputs depend on earlier calls; names the places and the line that writes the first."""
    name, cure = (
        type(module).__name__,
        "a file keeps none: make it an input and an output of forward, (x, state) -> (y, state)",
    )
    if not behaviour.state:
        return InvalidReference(
            f"{name} gives another output at a second call with the same input, so it keeps a state outside of its attributes, and {cure}"
        )
    first, *others = behaviour.state
    line = line_of_write(module, first, call)
    also = f" (also {', '.join(place.name for place in others[:4])})" if others else ""
    return InvalidReference(
        f"{name} keeps a state between calls in {first.name}{f', written at {line}' if line else ''}{also}, and {cure}"
    )


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """NaN equals NaN; tensors of layouts and dtypes that cannot be compared are taken for equal."""
    try:
        return torch.equal(a, b) or bool(torch.all((a == b) | ((a != a) & (b != b))))
    except (RuntimeError, NotImplementedError):
        return True


def line_of_write(module: torch.nn.Module, place: Place, call: Callable[[torch.nn.Module], object]) -> str | None:
    """`net.py:12`, where a call of the module first changes the place: what it holds is looked at after each of the user's lines."""
    copied = full_copy(module)
    watch = _LineWatch(lambda: _fingerprint(place.read(copied)))
    previous = sys.gettrace()
    sys.settrace(watch.trace)
    try:
        call(copied)
    except Exception:
        return None
    finally:
        sys.settrace(previous)
    return watch.found


class _LineWatch:
    """A trace function that keeps the line after which `look` first gives another value."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self.look, self.value = look, look()
        self.line: str | None = None
        self.found: str | None = None

    def trace(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if self.found is None and self.look() != self.value:
            self.found = self.line
        if not user_line(f'File "{frame.f_code.co_filename}", line 1'):
            return None
        if event == "line":
            self.line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return self.trace


def _fingerprint(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return id(value), value._version, float(value.detach().double().sum()) if value.numel() else 0.0
    if isinstance(value, dict):
        return len(value), tuple(map(_fingerprint, value.values()))
    if isinstance(value, list | tuple | deque):
        return len(value), tuple(map(_fingerprint, value))
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, torch.Generator):
        return value.get_state().sum().item()
    if can_hold_state(value):
        return _fingerprint(vars(value))
    return value if isinstance(value, int | float | complex | str) else id(value)


class _RandomOperators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the first operator that draws random numbers, with the user's line."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and not self.found:
            line = user_line("".join(traceback.format_stack()))
            self.found = f"{func.overloadpacket}{f' at {line}' if line else ''}"
        return func(*args, **(kwargs or {}))


def _random(module: torch.nn.Module, run: Run, feeds: Mapping[str, Array]) -> str:
    with _RandomOperators() as operators:
        _call(run, full_copy(module), feeds, 0)
    return (
        f"{type(module).__name__} is random in eval mode{f' ({operators.found})' if operators.found else ''}: two calls with one input differ, "
        "so that no file can be proven; switch it off in eval mode (dropout: training=self.training), or take the noise as an input"
    )

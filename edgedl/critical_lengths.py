"""The lengths of dynamic axes at which a program may begin to compute something else.

A trace holds for the lengths that its conditions hold for: a Python branch on the length, `x[:, :32]`, a padding to a multiple
of 4. The program runs with symbolic lengths and no data, torch notes each condition that it had to decide, and the lengths
on both sides of where a condition changes are the critical ones.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils._sympy.functions import CleanDiv, FloorDiv, Max, Min, Mod, PythonMod
from torch.utils._sympy.printers import PythonPrinter

from edgedl.exporter import Program
from edgedl.module_copy import shared_copy
from edgedl.program import tracing_lengths
from edgedl.recurrent import Recurrent, swapped
from edgedl.silence import silent
from edgedl.source_lines import user_line
from edgedl.spec import Axis, resize
from edgedl.tracing import masks_as_given

MOST = 8
"""Critical lengths of one axis that are kept"""
_RUNS = 6
"""Runs with symbolic lengths: each setting can take another path through the user's code."""
_WIDEST = 4096
"""Lengths of an axis at which conditions are evaluated, from its lowest on"""

CriticalLengths = Mapping[str, Mapping[int, str | None]]
"""axis name -> length -> the user's line that compares, slices or pads there, where it is known"""


def critical_lengths(program: Program) -> dict[str, dict[int, str | None]]:
    """The critical lengths of each axis in its declared range; none where the program cannot be run without data."""
    axes = {axis.name: axis for by_axis in program.dynamic_axes.values() for axis in by_axis.values()}
    found: dict[str, dict[int, str | None]] = {name: {} for name in axes}
    base = tracing_lengths(program.dynamic_axes)
    waiting, done = [base], 0
    while waiting and done < _RUNS:
        lengths, done = waiting.pop(0), done + 1
        for condition in _conditions(program, lengths):
            for name in condition.axes:
                new = {n: condition.line for n in condition.changes(axes[name], lengths) if n not in found[name]}
                found[name] |= new
                waiting += [{**base, name: n} for n in new if n > 1]
    return {name: dict(_nearest(lengths)) for name, lengths in found.items()}


def _nearest(lengths: Mapping[int, str | None]) -> Iterable[tuple[int, str | None]]:
    """The first and the last of many, in order."""
    ordered = sorted(lengths.items())
    return ordered if len(ordered) <= MOST else [*ordered[: MOST - 2], *ordered[-2:]]


@dataclass(frozen=True)
class _Condition:
    """code: an expression of lengths, in Python. symbols: (axis name, its symbol in the code)."""

    code: str
    symbols: tuple[tuple[str, str], ...]
    line: str | None = field(compare=False)

    @property
    def axes(self) -> Iterator[str]:
        return (name for name, _ in self.symbols)

    def changes(self, axis: Axis, lengths: Mapping[str, int]) -> list[int]:
        """Both sides of the first two and the last two changes along the axis, where the others have these lengths.

        And the length behind: `n < 32` of `x[:, :32]` changes at 32, what is computed at 33.
        """
        value = self._value(axis.name, lengths)
        tried = range(axis.low, min(axis.high, axis.low + _WIDEST) + 1)
        values = [value(length) for length in tried]
        where = [n for n, before, after in zip(tried[1:], values[:-1], values[1:], strict=True) if before != after]
        return sorted(
            {n for change in (*where[:2], *where[-2:]) for n in (change - 1, change, change + 1) if n in tried}
        )

    def _value(self, varied: str, lengths: Mapping[str, int]) -> Callable[[int], Any]:
        compiled = compile(self.code, "<condition>", "eval")
        known, symbol = {s: lengths[name] for name, s in self.symbols}, dict(self.symbols)[varied]

        def value(length: int) -> Any:
            with suppress(ArithmeticError, ValueError):
                return eval(compiled, {"math": math, "torch": torch}, {**known, symbol: length})
            return None

        return value


class _Guards(list[Any]):
    """The conditions that torch decides, with the user's line that asked for each."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str | None] = []

    def append(self, guard: Any) -> None:
        super().append(guard)
        self.lines.append(_line())


def _line() -> str | None:
    return user_line("".join(traceback.format_stack()))


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the lengths that operators are given and give, as expressions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[sympy.Expr, str | None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            for length in leaf.shape if isinstance(leaf, torch.Tensor) else (leaf,):
                if isinstance(length, torch.SymInt) and (expr := length.node.expr) not in self.seen:
                    self.seen[expr] = _line()
        return result


def _conditions(program: Program, lengths: Mapping[str, int]) -> list[_Condition]:
    """What the program decides by its lengths, where they begin as these; up to where it cannot go on without data."""
    environment, shapes = ShapeEnv(), _Shapes()
    environment.guards = _Guards()
    mode = FakeTensorMode(shape_env=environment, allow_non_fake_inputs=True)
    module = swapped(shared_copy(program.module), _OnlyShapes)
    names: dict[str, str] = {}
    with silent(), suppress(Exception), torch.no_grad(), masks_as_given():
        fakes = [_fake(mode, program, name, lengths, names) for name in program.inputs]
        with mode, enable_python_dispatcher(), shapes:
            module(*fakes)
    decided = [(guard.expr, line) for guard, line in zip(environment.guards, environment.guards.lines, strict=True)]
    parts = [(part, line) for expr, line in (*decided, *shapes.seen.items()) for part in _parts(expr)]
    unique = dict.fromkeys(_condition(expr, line, names) for expr, line in (*decided, *parts))
    return [condition for condition in unique if condition.symbols]


def _fake(mode: FakeTensorMode, program: Program, name: str, lengths: Mapping[str, int], names: dict[str, str]) -> Any:
    """An input without data; axes of one name have one symbol, which `names` learns."""
    array = resize({name: program.inputs[name]}, {name: program.dynamic_axes.get(name, {})}, lengths)[name]
    axes = program.dynamic_axes.get(name, {})
    sizes = [DimDynamic.DUCK if number in axes else DimDynamic.STATIC for number in range(array.ndim)]
    context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
    fake = mode.from_tensor(torch.from_numpy(array), source=ConstantSource(name), symbolic_context=context)
    for number, axis in axes.items():
        if isinstance(length := fake.shape[number], torch.SymInt):
            names[str(length.node.expr)] = axis.name
    return fake


def _parts(expr: Any) -> Iterator[Any]:
    """Where a maximum, a minimum, a quotient or a remainder within an expression changes."""
    for part in expr.atoms(Max, Min):
        first, *others = part.args
        yield from (sympy.Ge(first, other) for other in others)
    for part in expr.atoms(FloorDiv, CleanDiv, Mod, PythonMod):
        yield sympy.Eq(PythonMod(*part.args), 0)


def _condition(expr: Any, line: str | None, names: Mapping[str, str]) -> _Condition:
    symbols = sorted((names[str(s)], str(s)) for s in expr.free_symbols if str(s) in names)
    known = len(symbols) == len(expr.free_symbols)
    return _Condition(PythonPrinter().doprint(expr), tuple(symbols) if known else (), line)


class _OnlyShapes(Recurrent):
    """A recurrent layer for any length, without its numbers."""

    def _layer(self, x: torch.Tensor, states: list[torch.Tensor], number: int) -> list[torch.Tensor]:
        final = (self.directions, x.shape[1], self.hidden_size)
        every = x.new_empty(x.shape[0], x.shape[1], self.directions * self.hidden_size)
        return [every, *(x.new_empty(final) for _ in range(2 if self.kind == "LSTM" else 1))]

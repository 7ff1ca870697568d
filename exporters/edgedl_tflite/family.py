"""One program converted at several lengths of its dynamic axes, and what differs between the files.

Two conversions per axis are enough: whatever has the same value in both does not depend on the axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.spec import Array, Axis, DynamicAxes, resize
from edgedl_tflite import flatbuffer
from edgedl_tflite.lengths import line_of_length

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 7, 5, 3)
"""Lengths that other dimensions of a model seldom have: a coincidence would merge two constants into one."""


Conversion = Callable[[Mapping[str, Array]], Any]
"""inputs -> the ModelT of a program at their shapes"""


class DifferenceError(Exception):
    """The file of another length is another graph; the text says where."""


@dataclass(frozen=True)
class Varying:
    """A number in the file that depends on dynamic axes: `factor * product of the axes' lengths`.

    factor: None if the number is not of that form.
    """

    axes: tuple[str, ...]
    factor: int | None


@dataclass(frozen=True)
class Family:
    """models[0] is at the lengths `base`; models[1 + i] has the other length of the i-th axis of `axes`.

    longest: the model where an axis has the highest length that is to be proven, converted when it is first asked for.
    Its operators are those of the others; its tensors may be numbered otherwise. Only models[0] is ever edited.
    """

    axes: tuple[str, ...]
    base: Mapping[str, int]
    other: Mapping[str, int]
    models: tuple[Any, ...]
    longest: Callable[[str], Any]

    @property
    def main(self) -> Any:
        return self.models[0]

    def tensors(self, index: int) -> list[Any]:
        return [model.subgraphs[0].tensors[index] for model in self.models]

    def varying(self, values: list[int]) -> Varying | None:
        """How a number depends on the axes, given its value in each model; None if it does not."""
        axes = tuple(axis for axis, value in zip(self.axes, values[1:], strict=True) if value != values[0])
        if not axes:
            return None
        factor, rest = divmod(values[0], int(np.prod([self.base[axis] for axis in axes])))
        exact = not rest and all(
            value * self.base[axis] == values[0] * self.other[axis]
            for axis, value in zip(self.axes, values[1:], strict=True)
            if axis in axes
        )
        return Varying(axes, factor if exact else None)

    def varying_dims(self, index: int) -> dict[int, Varying]:
        """Dimension -> how it depends on the axes, of one tensor."""
        shapes = np.array([flatbuffer.shape_of(tensor) for tensor in self.tensors(index)]).reshape(len(self.models), -1)
        found = {position: self.varying([int(n) for n in column]) for position, column in enumerate(shapes.T)}
        return {position: varying for position, varying in found.items() if varying}


def convert_family(program: Program, convert: Conversion) -> Family:
    """Convert at 1 + (number of axes) settings of the lengths; DifferenceError if the graphs are not the same."""
    base, other = tracing_pairs(program.dynamic_axes)
    settings = [base, *({**base, axis: other[axis]} for axis in base)]
    models = tuple(convert(inputs_at(program, lengths)) for lengths in settings)
    for axis, model in zip(base, models[1:], strict=True):
        _compare(models[0], model, axis)

    @functools.cache
    def longest(axis: str) -> Any:
        high = axes_by_name(program.dynamic_axes)[axis][2].high
        model = convert(inputs_at(program, {**base, axis: high}))
        names = [[flatbuffer.operator_name(m, o) for o in m.subgraphs[0].operators] for m in (models[1], model)]
        if names[0] != names[1]:
            raise DifferenceError(f"the operators depend on the length of {axis!r}")
        return model

    return Family(tuple(base), base, other, models, longest)


def axes_by_name(axes: DynamicAxes) -> dict[str, tuple[str, int, Axis]]:
    """axis name -> (input, axis number, Axis) of its first use."""
    found: dict[str, tuple[str, int, Axis]] = {}
    for name, by_axis in axes.items():
        for number, axis in by_axis.items():
            found.setdefault(axis.name, (name, number, axis))
    return found


def tracing_pairs(axes: DynamicAxes) -> tuple[dict[str, int], dict[str, int]]:
    """Two lengths of 2 or more for each axis name, all different and in the proven range where it is wide enough."""
    base: dict[str, int] = {}
    other: dict[str, int] = {}
    for name, (_, _, axis) in axes_by_name(axes).items():
        free = _candidates(axis, {*base.values(), *other.values()})
        base[name], other[name] = next(free), next(free)
    return base, other


def _candidates(axis: Axis, taken: set[int]) -> Iterator[int]:
    inside = [n for n in _PRIMES if axis.low <= n <= axis.high]
    rest = [n for n in range(axis.high, max(axis.low, 2) - 1, -1) if n not in inside]
    beyond = [n for n in range(max(axis.high + 1, 2), axis.high + 64) if n not in inside]
    return iter([n for n in [*inside, *rest, *beyond] if n not in taken])


def inputs_at(program: Program, lengths: Mapping[str, int]) -> dict[str, Array]:
    """The example inputs at the lengths of the axes, in one block of memory each."""
    resized = resize(program.inputs, program.dynamic_axes, lengths)
    return {name: np.ascontiguousarray(array) for name, array in resized.items()}


def _compare(model: Any, other: Any, axis: str) -> None:
    graphs = [m.subgraphs[0] for m in (model, other)]
    if len(model.subgraphs) != 1 or len(other.subgraphs) != 1:
        raise DifferenceError(f"control flow depends on the length of {axis!r}")
    counts = [len(graph.operators) for graph in graphs]
    if counts[0] != counts[1]:
        raise DifferenceError(
            f"the number of operators depends on the length of {axis!r} ({counts[0]} and {counts[1]}), as in a loop over it"
        )
    for operators in zip(graphs[0].operators, graphs[1].operators, strict=True):
        names = [flatbuffer.operator_name(m, operator) for m, operator in zip((model, other), operators, strict=True)]
        if names[0] != names[1] or not _same_links(*operators) or not same_options(*operators):
            raise DifferenceError(f"{names[0]} is written differently for other lengths of {axis!r}")
    _compare_ranks(graphs, axis)


def _compare_ranks(graphs: list[Any], axis: str) -> None:
    if len(graphs[0].tensors) != len(graphs[1].tensors):
        raise DifferenceError(f"the number of tensors depends on the length of {axis!r}")
    for tensors in zip(graphs[0].tensors, graphs[1].tensors, strict=True):
        if len({(tensor.type, len(flatbuffer.shape_of(tensor))) for tensor in tensors}) != 1:
            raise DifferenceError(
                f"the rank or dtype of {flatbuffer.text(tensors[0].name)} depends on the length of {axis!r}"
            )


def _same_links(operator: Any, other: Any) -> bool:
    return all(
        flatbuffer.numbers(getattr(operator, side)) == flatbuffer.numbers(getattr(other, side))
        for side in ("inputs", "outputs")
    )


def same_options(operator: Any, other: Any) -> bool:
    """Whether two operators have equal options; `newShape` only repeats the shape operand."""
    ours, theirs = (_plain(o.builtinOptions) | _plain(o.builtinOptions2) for o in (operator, other))
    return ours == theirs and bytes(_raw(operator)) == bytes(_raw(other))


def _raw(operator: Any) -> Any:
    return b"" if operator.customOptions is None else operator.customOptions


def _plain(options: Any) -> dict[str, str]:
    if options is None:
        return {}
    return {
        name: str(_plain(value) if hasattr(value, "__dict__") else value)
        for name, value in vars(options).items()
        if name != "newShape"
    }


def unsupported(
    program: Program,
    reason: str,
    axis_name: str | None = None,
    line: str | None = None,
    bound: tuple[int, int] | None = None,
) -> Unsupported:
    """The error for an axis that cannot be carried: the input, the axis, why, and the way round.

    line: of the user's, where it is known already. bound: lengths that the axis can be bounded to.
    """
    axes = axes_by_name(program.dynamic_axes)
    name, number, axis = axes[axis_name] if axis_name in axes else next(iter(axes.values()))
    where = f" ({line})" if (line := line or line_of_length(program)) else ""
    subject = f"axis {number} ({axis.name!r}) of input {name!r}"
    bounded = f"bound it with --dynamic {name}:{number}={axis.name}:{bound[0]}..{bound[1]}, " if bound else ""
    return Unsupported(
        f"TFLite cannot carry {subject} as dynamic{where}: {reason}; {bounded}export it with a fixed length, or --shape for several"
    )

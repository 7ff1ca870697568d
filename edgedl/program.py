"""From a task and its module to the Program that exporters take and eager torch runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from edgedl.errors import InvalidInput, InvalidReference
from edgedl.exporter import Program
from edgedl.module_copy import shared_copy
from edgedl.module_state import Place, observe, refusal, restored
from edgedl.source_lines import user_line_of
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec, plain, resize
from edgedl.task import Predict, Task


class Wrapper(torch.nn.Module):
    """A module of edgedl's around one of the user's: what it calls that is no part of the user's names."""


class FlatOutputs(Wrapper):
    """The user's module with its outputs flattened to a tuple of tensors.

    written: attributes that a call changes without effect on later ones; each call finds them as the first one did.
    written_inputs: positions of the inputs that a call writes into; each call writes into copies, a traced one too.
    """

    def __init__(
        self, module: torch.nn.Module, written: tuple[Place, ...] = (), written_inputs: frozenset[int] = frozenset()
    ) -> None:
        super().__init__()
        self.module, self.written, self.written_inputs = module, written, written_inputs

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = [x.clone() if position in self.written_inputs else x for position, x in enumerate(inputs)]
        with attention_as_traced(), restored(self.module, self.written):
            return tuple(tensor for _, tensor in named_tensors(self.module(*own)))


@contextmanager
def attention_as_traced() -> Iterator[None]:
    """Attention computes as a trace of it does, without torch's fast path for inference.

    Where a padding mask hides every key, the fast path gives NaN and the trace zeros; at hidden positions a nested tensor
    gives zeros, and may come out shorter than it was.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def named_tensors(value: Any, prefix: str = "") -> list[tuple[str, torch.Tensor]]:
    """Depth-first tensors of nested tuples, lists, dictionaries and dataclasses, with names made from keys and positions."""
    if isinstance(value, torch.Tensor):
        return [(prefix or "output", value)]
    if value is None:
        return []
    if is_dataclass(value) and not isinstance(value, Mapping | type):
        value = {key: getattr(value, key) for key in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        items = [(f"{prefix}_{key}" if prefix else str(key), part) for key, part in value.items()]
    elif isinstance(value, tuple | list):
        single = len(value) == 1 and not prefix
        items = [("" if single else f"{prefix or 'output'}_{index}", part) for index, part in enumerate(value)]
    else:
        raise InvalidReference(
            f"forward returned a {type(value).__name__}: expected tensors, or tuples or dictionaries of them"
        )
    return [named for name, part in items for named in named_tensors(part, name)]


def axes_of(task: Task) -> DynamicAxes:
    """The declared axes with every bare name made an Axis; InvalidInput for an input or axis that is not there."""
    examples = task.example_inputs()
    if not examples:
        raise InvalidInput(f"{task.name} has no inputs: there is nothing to run it on")
    for name, by_axis in task.dynamic_axes.items():
        if name not in examples:
            raise InvalidInput(f"dynamic axis of an unknown input {name!r}: the inputs are {', '.join(examples)}")
        if over := [number for number in by_axis if not 0 <= number < np.ndim(examples[name])]:
            raise InvalidInput(
                f"input {name!r} has {np.ndim(examples[name])} axes (0 to {np.ndim(examples[name]) - 1}), not axis {over[0]}"
            )
        if empty := [number for number in by_axis if not np.shape(examples[name])[number]]:
            raise InvalidInput(f"axis {empty[0]} of the example input {name!r} has length 0: give at least one row")
    axes = {
        name: {number: Axis(axis) if isinstance(axis, str) else axis for number, axis in by_axis.items()}
        for name, by_axis in task.dynamic_axes.items()
    }
    _refuse_conflicts([axis for by_axis in axes.values() for axis in by_axis.values()])
    return axes


def _refuse_conflicts(axes: list[Axis]) -> None:
    by_name: dict[str, Axis] = {}
    for axis in axes:
        if (other := by_name.setdefault(axis.name, axis)) != axis:
            raise InvalidInput(
                f"axis {axis.name!r} is {other.low} to {other.high} in one place and {axis.low} to {axis.high} in another: "
                "axes of one name have one length"
            )


def tracing_lengths(axes: DynamicAxes) -> dict[str, int]:
    """A length of 2 or more for each axis name, all different: torch.export fixes lengths of 1 and merges equal ones."""
    lengths: dict[str, int] = {}
    for axis in (axis for by_axis in axes.values() for axis in by_axis.values()):
        if axis.name not in lengths:
            length = max(2, axis.low)
            while length in lengths.values() and length < axis.high:
                length += 1
            lengths[axis.name] = length
    return lengths


def program_of(task: Task, module: torch.nn.Module, channels_last: bool = False) -> Program:
    """The program of a task; runs copies of the module.

    InvalidReference, with the user's line, if that raises, and for a module whose outputs are random or depend on earlier calls.
    """
    axes = axes_of(task)
    inputs = resize(plain(task.example_inputs()), axes, tracing_lengths(axes))
    module = shared_copy(module).eval()
    written_inputs: set[int] = set()
    call = partial(_try_out, task.name, written_inputs)
    if any(map(torch.nn.parameter.is_lazy, module.parameters())):
        call(module, inputs)
    behaviour = observe(module, call, inputs)
    if behaviour.stateful:
        raise refusal(module, behaviour, partial(call, inputs=inputs))
    if behaviour.written and not axes:
        call(module, inputs)  # caches are filled outside of the trace, where any Python can fill them
    outputs = _distinct(_output_names(task, behaviour.returned), inputs)
    flat = FlatOutputs(module, behaviour.written, frozenset(written_inputs)).eval()
    return Program(task.name, flat, inputs, outputs, axes, channels_last, task.signatures)


def predicting(module: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> Predict:
    """A module that returns a tuple of tensors as a predict function; inputs in the order of its `forward`.

    It works on copies of the feeds: a module may write into its inputs, or return them.
    """

    def predict(feeds: Feeds) -> dict[str, Array]:
        if set(feeds) != set(inputs):
            raise InvalidReference(
                f"predict was given the inputs {', '.join(feeds) or 'none'}, expected {', '.join(inputs)}"
            )
        with torch.inference_mode():
            tensors = module(*(torch.from_numpy(np.array(feeds[name])) for name in inputs))
        if len(tensors) != len(outputs):
            raise InvalidReference(
                f"forward returned {len(tensors)} tensors and {len(outputs)} outputs are named ({', '.join(outputs)})"
            )
        return {name: tensor.numpy() for name, tensor in zip(outputs, tensors, strict=True)}

    return predict


def _output_names(task: Task, returned: list[tuple[str, torch.Tensor]]) -> tuple[str, ...]:
    if not returned:
        raise InvalidReference(f"{task.name} returned no tensor: there is nothing to export")
    if task.outputs and len(task.outputs) != len(returned):
        raise InvalidReference(
            f"{task.name} returned {len(returned)} tensors and names {len(task.outputs)} outputs ({', '.join(task.outputs)})"
        )
    return task.outputs or tuple(name for name, _ in returned)


def _try_out(
    name: str, written: set[int], module: torch.nn.Module, inputs: Mapping[str, Array]
) -> list[tuple[str, torch.Tensor]]:
    """The named outputs of one call without gradients; adds to `written` the positions of inputs that it writes into."""
    tensors = [torch.from_numpy(np.array(array)) for array in inputs.values()]
    try:
        with torch.no_grad(), attention_as_traced():
            returned = module(*tensors)
    except Exception as error:
        shapes = ", ".join(f"{key} {array.shape} {array.dtype}" for key, array in inputs.items())
        where = f" at {line}" if (line := user_line_of(error)) else ""
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidReference(f"{name} raised{where} on its example inputs ({shapes}): {said}") from error
    unlike = [
        not np.array_equal(x.numpy(), array, equal_nan=array.dtype.kind in "fc")
        for x, array in zip(tensors, inputs.values(), strict=True)
    ]
    written.update(n for n, x in enumerate(tensors) if x._version or unlike[n])
    return named_tensors(returned)


def _distinct(names: tuple[str, ...], inputs: Mapping[str, Array]) -> tuple[str, ...]:
    """No output has the name of an input or of another output: a file format would confuse them."""
    taken, result = set(inputs), []
    for name in names:
        while name in taken:
            name += "_out"
        taken.add(name)
        result.append(name)
    return tuple(result)


def output_specs(program: Program) -> tuple[TensorSpec, ...]:
    """The outputs with the names of the axes that they grow with, found by running the program at other lengths."""
    lengths = tracing_lengths(program.dynamic_axes)
    base = _output_shapes(program, lengths)
    dims: list[list[int | str]] = [list(shape) for shape, _ in base]
    for name in lengths:
        for spec, (shape, _) in zip(dims, _output_shapes(program, {**lengths, name: lengths[name] + 1}), strict=True):
            spec[:] = [
                name if isinstance(old, int) and old != new else old for old, new in zip(spec, shape, strict=True)
            ]
    return tuple(TensorSpec(n, tuple(d), dtype) for n, d, (_, dtype) in zip(program.outputs, dims, base, strict=True))


def _output_shapes(program: Program, lengths: Mapping[str, int]) -> list[tuple[tuple[int, ...], str]]:
    feeds = resize(program.inputs, program.dynamic_axes, lengths)
    with torch.inference_mode():
        outputs = program.module(*(torch.from_numpy(np.array(feeds[name])) for name in program.inputs))
    return [(tuple(t.shape), str(t.dtype).removeprefix("torch.")) for t in outputs]

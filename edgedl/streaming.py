"""Recurrent networks one step at a time: the states become inputs and outputs, and the caller carries them.

What a step model computes must equal the whole-sequence model at every length; the gate proves it over a thousand steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedl.errors import InvalidInput
from edgedl.exporter import Program
from edgedl.module_copy import shared_copy
from edgedl.program import Wrapper
from edgedl.runtime import Session, Stream
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, State, resize
from edgedl.task import Predict
from edgedl.verify.parity import relative_rms

TIME = "time"
"""The name that marks the axis that is streamed."""
STEPS = (1, 16, 1000)
"""Lengths over which a step model is held against the whole sequence."""

_LAYERS = (nn.RNN, nn.LSTM, nn.GRU)


@dataclass(frozen=True)
class StepProgram:
    """program: one step, its last inputs and outputs are the states. whole: the sequence program that it was made from.

    inputs, outputs: name -> number of its time axis; an output without one is that of the last step.
    """

    program: Program
    whole: Program
    states: tuple[State, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]

    def through(self, session: Session) -> Predict:
        """The session as a predict function over whole sequences."""

        def predict(feeds: Feeds) -> dict[str, Array]:
            with_stream = Stream(session, self.states)
            steps = [with_stream(self._step(feeds, number)) for number in range(self._length(feeds))]
            return {name: self._joined(name, [step[name] for step in steps]) for name in steps[0]}

        return predict

    def _length(self, feeds: Feeds) -> int:
        name, axis = next(iter(self.inputs.items()))
        return int(feeds[name].shape[axis])

    def _step(self, feeds: Feeds, number: int) -> dict[str, Array]:
        return {n: a.take([number], axis=self.inputs[n]) if n in self.inputs else a for n, a in feeds.items()}

    def _joined(self, name: str, steps: list[Array]) -> Array:
        return np.concatenate(steps, axis=self.outputs[name]) if name in self.outputs else steps[-1]

    def runs(self, batches: Iterable[Feeds], load: Callable[[], Session]) -> Iterator[Feeds]:
        """The feeds of every step, with the states that the artifact itself computes."""
        with load() as session:
            for feeds in batches:
                stream = Stream(session, self.states)
                for number in range(self._length(feeds)):
                    step = self._step(feeds, number)
                    yield {**(stream.states or self.first_run(feeds)), **step}
                    stream(step)

    def drift(self, got: Feeds, want: Feeds) -> tuple[tuple[int, float], ...]:
        """(step, relative RMS error of that step), from the first step on at distances that grow, over all outputs with a time axis."""
        length = max((want[name].shape[axis] for name, axis in self.outputs.items()), default=0)
        steps = sorted({round(step) for step in np.geomspace(1, length, 40)}) if length > 1 else []
        return tuple(
            (step, max(self._error(got[n], want[n], axis, step) for n, axis in self.outputs.items())) for step in steps
        )

    @staticmethod
    def _error(got: Array, want: Array, axis: int, step: int) -> float:
        return relative_rms(got.take(step - 1, axis), want.take(step - 1, axis))

    def first_run(self, feeds: Feeds) -> dict[str, Array]:
        return self.program_run(feeds)

    def program_run(self, feeds: Feeds) -> dict[str, Array]:
        """The feeds of the first step: states of zero."""
        states = {s.input: self.program.inputs[s.input][:, :1].repeat(self._rows(feeds), axis=1) for s in self.states}
        return {**self._step(feeds, 0), **states}

    def _rows(self, feeds: Feeds) -> int:
        name, time = next(iter(self.inputs.items()))
        return int(feeds[name].shape[1 - time])

    def axes(self) -> DynamicAxes:
        """The dynamic axes of the whole sequence, with time up to the longest of STEPS."""
        return {
            name: {
                number: replace(axis, low=1, high=max(STEPS)) if axis.name == TIME else axis
                for number, axis in by_axis.items()
            }
            for name, by_axis in self.whole.dynamic_axes.items()
        }


def step_program(whole: Program) -> StepProgram:
    """One step of `whole`, whose inputs have a dynamic axis called `time`.

    InvalidInput if none has, or if a layer needs the whole sequence (bidirectional) or is called twice in one forward.
    """
    times = {
        name: number for name, axes in whole.dynamic_axes.items() for number, axis in axes.items() if axis.name == TIME
    }
    if not times:
        raise InvalidInput(f"streaming needs to know the time axis of {whole.name}: add --dynamic INPUT:AXIS={TIME}")
    module = _StepModule(shared_copy(whole.module), len(whole.inputs))
    inputs = {
        name: array.take([0], axis=times[name]) if name in times else array for name, array in whole.inputs.items()
    }
    shapes = module.state_shapes(inputs)
    states = tuple(State(name, f"{name}_next") for name in shapes)
    program = Program(
        f"{whole.name}.step", module, {**inputs, **{n: np.zeros(shape, np.float32) for n, shape in shapes.items()}},
        (*whole.outputs, *(state.output for state in states)), _step_axes(whole, times, shapes),
    )  # fmt: skip
    return StepProgram(program, whole, states, times, _time_axes(whole))


def _step_axes(whole: Program, times: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> DynamicAxes:
    """The axes of the whole program without time; the states share its batch axis."""
    kept = {n: {number: a for number, a in axes.items() if a.name != TIME} for n, axes in whole.dynamic_axes.items()}
    name, time = next(iter(times.items()))
    batch: Axis | None = kept[name].get(1 - time) if time < 2 else None
    states = {state: {1: batch} for state in shapes} if batch else {}
    return {name: axes for name, axes in {**kept, **states}.items() if axes}


def _time_axes(whole: Program) -> dict[str, int]:
    """Which axis of each output grows with the time axis."""
    shapes = [_shapes_at(whole, length) for length in (5, 6)]
    return {
        name: next(axis for axis, (a, b) in enumerate(zip(short, long, strict=True)) if a != b)
        for name, short, long in zip(whole.outputs, *shapes, strict=True)
        if short != long
    }


def _shapes_at(whole: Program, length: int) -> list[tuple[int, ...]]:
    named = {axis.name: 3 for axes in whole.dynamic_axes.values() for axis in axes.values()}
    feeds = resize(whole.inputs, whole.dynamic_axes, {**named, TIME: length})
    with torch.inference_mode():
        return [tuple(t.shape) for t in whole.module(*(torch.from_numpy(feeds[name]) for name in whole.inputs))]


class _Carried(Wrapper):
    """A recurrent layer that starts from the state put into it and keeps the one that it ends with."""

    def __init__(self, layer: nn.Module, name: str) -> None:
        super().__init__()
        if layer.bidirectional:
            raise InvalidInput(f"{name} is bidirectional and needs the whole sequence: it cannot be streamed")
        self.layer, self.name = layer, name.removeprefix("module.").replace(".", "_")
        self.names = [f"{self.name}_h", f"{self.name}_c"][: 2 if isinstance(layer, nn.LSTM) else 1]
        self.start: tuple[torch.Tensor, ...] = ()
        self.end: tuple[torch.Tensor, ...] = ()

    def forward(self, sequence: torch.Tensor, _: Any = None) -> Any:
        """The user's own initial state counts at the start of the sequence only, where the caller gives it."""
        if self.end:
            raise InvalidInput(f"{self.name} is called twice in one forward: it cannot be streamed")
        state = None if not self.start else self.start if len(self.names) == 2 else self.start[0]
        output, end = self.layer(sequence, state)
        self.end = tuple(end) if isinstance(end, tuple) else (end,)
        return output, end


class _StepModule(Wrapper):
    """forward(*inputs, *states) -> (*outputs, *next states)."""

    def __init__(self, module: nn.Module, inputs: int) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs
        self.carried = [
            _swapped(module, name) for name, layer in list(module.named_modules()) if isinstance(layer, _LAYERS)
        ]
        if not self.carried:
            raise InvalidInput("there is no recurrent layer to stream: export without --streaming")

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        states = iter(arguments[self.inputs :])
        for layer in self.carried:
            layer.start, layer.end = tuple(next(states) for _ in layer.names), ()
        outputs = self.module(*arguments[: self.inputs])
        ends = tuple(state for layer in self.carried for state in layer.end)
        for layer in self.carried:
            layer.start = layer.end = ()
        return (*outputs, *ends)

    def state_shapes(self, inputs: Feeds) -> dict[str, tuple[int, ...]]:
        """State name -> [layers, batch, hidden], found by running one step from no state."""
        with torch.no_grad():
            self.module(*(torch.from_numpy(array) for array in inputs.values()))
        shapes = {n: tuple(s.shape) for layer in self.carried for n, s in zip(layer.names, layer.end, strict=True)}
        for layer in self.carried:
            layer.end = ()
        return shapes


def _swapped(module: nn.Module, path: str) -> _Carried:
    parent, _, child = path.rpartition(".")
    carried = _Carried(module.get_submodule(path), path)
    setattr(module.get_submodule(parent), child, carried)
    return carried

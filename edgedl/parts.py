"""The parts of an encoder-decoder as tasks of their own, and the loop over them in eager torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from edgedl.decoding import decode, first_feeds
from edgedl.errors import EdgedlError, InvalidInput, InvalidReference, UnknownName
from edgedl.group import TOKENS
from edgedl.module_copy import shared_copy
from edgedl.program import FlatOutputs, predicting, program_of
from edgedl.source_lines import described
from edgedl.spec import Array, Feeds, plain
from edgedl.task import EncoderDecoder, Part, Predict, Task

NAMES = ("encoder", "decoder")
RECORDED = 8
"""Batches of the task's inputs from which the decoder's own are recorded: some 1,000 steps of batches of 16."""


@dataclass(frozen=True)
class Parts:
    """module: of the whole task, in eval mode."""

    task: Task
    module: torch.nn.Module

    @classmethod
    def of(cls, task: Task, module: torch.nn.Module | None = None) -> Parts:
        """Of the module given or of a new one; runs the loop over the example inputs.

        InvalidInput where the loop does not fit the parts, InvalidReference where a part raises.
        """
        parts = cls(task, shared_copy(module or task.model()).eval())
        parts.check()
        return parts

    @property
    def decoding(self) -> EncoderDecoder:
        if not self.task.decoding:
            raise InvalidReference(f"{self.task.name} is no encoder-decoder: its Task has no decoding")
        return self.task.decoding

    def check(self) -> None:
        names = [(self.inputs(name), self.part(name).outputs) for name in NAMES]
        if flaw := self.decoding.loop.flaw(*names):
            raise InvalidInput(f"the loop of {self.task.name} does not fit its parts: {flaw}")
        feeds = self._example_rows()
        try:
            given = first_feeds(self.decoding.loop, feeds, self.run("encoder")(feeds))
            self._check_batch(len(next(iter(feeds.values()))), given)
            self.predict(feeds)
        except EdgedlError:
            raise
        except Exception as error:
            raise InvalidReference(f"the loop of {self.task.name} raised {described(error)}") from error

    def _example_rows(self) -> dict[str, Array]:
        """Twice the example inputs where the batch is dynamic: one row hides that an axis is not the batch."""
        axes = self.task.dynamic_axes
        examples = plain(self.task.example_inputs())
        return {name: np.concatenate([a, a]) if 0 in axes.get(name, ()) else a for name, a in examples.items()}

    def _check_batch(self, rows: int, given: Feeds) -> None:
        if odd := [name for name, array in given.items() if np.shape(array)[:1] != (rows,)]:
            raise InvalidInput(
                f"the batch is axis 0 of all that {self.task.name} passes from encoder to decoder: for {rows} rows, "
                f"{odd[0]!r} has shape {np.shape(given[odd[0]])}"
            )

    def part(self, name: str) -> Part:
        """UnknownName for a part that there is not."""
        if name not in NAMES:
            raise UnknownName(f"part of {self.task.name}", name, NAMES)
        part: Part = getattr(self.decoding, name)
        return part

    def inputs(self, name: str) -> tuple[str, ...]:
        return self.part(name).inputs if name == "decoder" else tuple(self.task.example_inputs())

    def run(self, name: str) -> Predict:
        """One part in eager torch."""
        module = FlatOutputs(self.part(name).module(self.module)).eval()
        return predicting(module, self.inputs(name), self.part(name).outputs)

    def predict(self, feeds: Feeds) -> dict[str, Array]:
        """The whole loop in eager torch."""
        return {TOKENS: decode(self.run("encoder"), self.run("decoder"), self.decoding.loop, feeds)}

    def recorded(self, batches: Iterable[Feeds]) -> list[Feeds]:
        """What the decoder is given at each step over the batches, in the order of its `forward`."""
        given: list[Feeds] = []
        noted = recording(self.run("decoder"), given)
        for feeds in batches:
            decode(self.run("encoder"), noted, self.decoding.loop, plain(feeds))
        return [{name: step[name] for name in self.inputs("decoder")} for step in given]

    def as_task(self, name: str) -> Task:
        """The part as a task. The decoder's inputs are what the loop gives it in torch over the task's own."""
        part, whole = self.part(name), self.task
        make = functools.partial(part.module, self.module)
        if name == "encoder":
            task = Task(name, make, whole.example_inputs, whole.dynamic_axes, part.outputs, whole.calibration)
        else:
            steps = functools.partial(self._mixed_steps, whole.calibration) if whole.calibration else None
            task = Task(name, make, self._example_step, part.dynamic_axes, part.outputs, steps)
        return replace(task, synthetic=whole.synthetic)

    def _example_step(self) -> Feeds:
        """The second one where there is one: at the first many states are zero."""
        return self.recorded([self.task.example_inputs()])[:2][-1]

    def _mixed_steps(self, calibration: Callable[[], Iterable[Feeds]]) -> Iterator[Feeds]:
        steps = self.recorded(islice(calibration(), RECORDED))
        yield from (steps[index] for index in np.random.default_rng(0).permutation(len(steps)))


def recording(predict: Predict, given: list[Feeds]) -> Predict:
    """The same function, which notes what it is given."""

    def noted(feeds: Feeds) -> dict[str, Array]:
        given.append(feeds)
        return predict(feeds)

    return noted


def predict_of(task: Task, module: torch.nn.Module) -> Predict:
    """What `evaluate` is given: the module in eager torch, or the loop over its parts."""
    if task.decoding:
        return Parts.of(task, module).predict
    program = program_of(task, module)
    return predicting(program.module, tuple(program.inputs), program.outputs)

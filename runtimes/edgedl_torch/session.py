"""A task's module, in eval mode without gradients, behind edgedl's Session."""

from __future__ import annotations

import torch

from edgedl.errors import InvalidTensor
from edgedl.group_session import GroupSession
from edgedl.parts import NAMES, Parts
from edgedl.program import program_of
from edgedl.reference import TaskReference
from edgedl.runtime import NO_OPTIONS, Options, Session, Source
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.task import Task
from edgedl_torch.events import EventTimer
from edgedl_torch.settings import Settings, settings


def open_session(source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
    """The task's module, or the loop over its parts where it is an encoder-decoder."""
    assert isinstance(source, TaskReference)
    chosen = settings(device, options)
    task = source.resolve()
    if not task.decoding:
        return TorchSession(task, chosen, threads)
    parts = Parts.of(task)
    encoder, decoder = (TorchSession(parts.as_task(name), chosen, threads) for name in NAMES)
    words = {name: tuple(words) for name, words in task.decoding.vocabularies().items()}
    return GroupSession(task.decoding.loop, words, encoder, decoder)


class TorchSession(Session):
    def __init__(self, task: Task, chosen: Settings, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._program, self._chosen = program_of(task, task.model()), chosen
        self._module = chosen.apply(self._program.module)
        with torch.inference_mode():
            outputs = self._taken(self._module(*self._on(self._program.inputs)))
        specs = [TensorSpec(name, array.shape, array.dtype.name) for name, array in outputs.items()]
        super().__init__(self._program.input_specs(), tuple(specs), chosen.engine, chosen.device)
        if chosen.device == "cuda":
            self.timed = EventTimer(self._ordered, self._module, self._taken, chosen.transfers).timed

    def _on(self, feeds: Feeds) -> list[torch.Tensor]:
        """On the device; real numbers in the precision that the module computes in."""
        tensors = [torch.from_numpy(array).to(self._chosen.device) for array in feeds.values()]
        dtype = self._chosen.dtype
        return [t.to(dtype) if dtype and t.is_floating_point() else t for t in tensors]

    def _ordered(self, feeds: Feeds) -> list[torch.Tensor]:
        return self._on({name: feeds[name] for name in self._program.inputs})

    def _taken(self, outputs: tuple[torch.Tensor, ...]) -> dict[str, Array]:
        """As arrays; what was computed in another precision comes back as float32."""
        low = self._chosen.dtype
        kept = [t.float() if low and t.dtype == low else t for t in outputs]
        return {name: t.detach().cpu().numpy() for name, t in zip(self._program.outputs, kept, strict=True)}

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        if set(feeds) != set(self._program.inputs):
            raise InvalidTensor("wrong input names")
        for spec in self.inputs:
            if feeds[spec.name].dtype.name != spec.dtype or not spec.accepts(feeds[spec.name].shape):
                raise InvalidTensor("wrong dtype or shape")
        with torch.inference_mode():
            return self._taken(self._module(*self._ordered(feeds)))

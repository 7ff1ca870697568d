"""A task's module, in eval mode without gradients, behind edgedl's Session."""

from __future__ import annotations

import torch

from edgedl.errors import InvalidTensor, Unavailable, UnknownName
from edgedl.group_session import GroupSession
from edgedl.parts import NAMES, Parts
from edgedl.program import program_of
from edgedl.reference import TaskReference
from edgedl.runtime import Session, Source
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.task import Task


def open_session(source: Source, device: str, threads: int | None) -> Session:
    """The task's module, or the loop over its parts where it is an encoder-decoder."""
    assert isinstance(source, TaskReference)
    task = source.resolve()
    if not task.decoding:
        return TorchSession(task, device, threads)
    parts = Parts.of(task)
    encoder, decoder = (TorchSession(parts.as_task(name), device, threads) for name in NAMES)
    words = {name: tuple(words) for name, words in task.decoding.vocabularies().items()}
    return GroupSession(task.decoding.loop, words, encoder, decoder)


class TorchSession(Session):
    def __init__(self, task: Task, device: str, threads: int | None) -> None:
        if device not in ("cpu", "cuda"):
            raise UnknownName("device", device, ("cpu", "cuda"))
        if device == "cuda" and not torch.cuda.is_available():
            raise Unavailable("device 'cuda' is not here: torch sees no GPU")
        if threads is not None:
            torch.set_num_threads(threads)
        self._program = program_of(task, task.model())
        self._module = self._program.module.to(device)
        outputs = self._module(*self._on(device, self._program.inputs))
        specs = [
            TensorSpec(name, tuple(t.shape), str(t.dtype).removeprefix("torch."))
            for name, t in zip(self._program.outputs, outputs, strict=True)
        ]
        super().__init__(self._program.input_specs(), tuple(specs), f"torch {torch.__version__}", device)

    @staticmethod
    def _on(device: str, feeds: Feeds) -> list[torch.Tensor]:
        return [torch.from_numpy(array).to(device) for array in feeds.values()]

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        if set(feeds) != set(self._program.inputs):
            raise InvalidTensor("wrong input names")
        for spec in self.inputs:
            if feeds[spec.name].dtype.name != spec.dtype or not spec.accepts(feeds[spec.name].shape):
                raise InvalidTensor("wrong dtype or shape")
        ordered = {name: feeds[name] for name in self._program.inputs}
        with torch.inference_mode():
            outputs = self._module(*self._on(self.device, ordered))
        return {name: t.cpu().numpy() for name, t in zip(self._program.outputs, outputs, strict=True)}

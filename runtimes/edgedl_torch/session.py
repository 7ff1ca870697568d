"""A task's module, in eval mode without gradients, behind edgedl's Session."""

from __future__ import annotations

import torch

from edgedl.errors import InvalidTensor, Unavailable, UnknownName
from edgedl.program import program_of
from edgedl.reference import TaskReference
from edgedl.runtime import Session, Source
from edgedl.spec import Array, Feeds, TensorSpec


class TorchSession(Session):
    def __init__(self, source: Source, device: str, threads: int | None) -> None:
        assert isinstance(source, TaskReference)
        if device not in ("cpu", "cuda"):
            raise UnknownName("device", device, ("cpu", "cuda"))
        if device == "cuda" and not torch.cuda.is_available():
            raise Unavailable("device 'cuda' is not here: torch sees no GPU")
        if threads is not None:
            torch.set_num_threads(threads)
        task = source.resolve()
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

"""A training as data: stages of epochs under AdamW, which the engine carries out on any device and resumes.

A `Loop` is a Task's `fit`. Every step has a seed of its own, made of the training's seed and the step's number, so that a
run that was interrupted and resumed gives the weights of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from edgedl.checkpoint import Checkpoint
from edgedl.engine import Engine
from edgedl.errors import InvalidInput
from edgedl.spec import Array
from edgedl.task import Progress

Loss = Callable[..., torch.Tensor]
"""(module, the rows of a batch of each tensor of the data...) -> a scalar."""

Data = Callable[[Progress], "tuple[Array | torch.Tensor, ...]"]
"""Arrays or tensors with an example in each row; the progress is that of a download."""


def itself(module: torch.nn.Module) -> torch.nn.Module:
    return module


@dataclass(frozen=True)
class Stage:
    """Some epochs of AdamW (weight decay 0.01) under a one-cycle schedule of the learning rate.

    batch: examples of a step, over all devices. clip: the largest norm of the gradient that is used as it is.
    frozen: submodules, by name, that stay as they are. subject: makes what is trained out of the module, where that is
    not the module itself but, say, a part of it under another head.
    """

    loss: Loss
    data: Data
    epochs: int
    learning_rate: float = 3e-3
    batch: int = 64
    clip: float = float("inf")
    frozen: tuple[str, ...] = ()
    subject: Callable[[torch.nn.Module], torch.nn.Module] = itself

    def steps(self, examples: int) -> int:
        return self.epochs * max(1, examples // self.batch)

    def batches(self, examples: int, seed: int) -> Iterator[torch.Tensor]:
        """The numbers of the examples of each step; every epoch has an order of its own."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.epochs):
            order = torch.randperm(examples, generator=generator)
            for step in range(max(1, examples // self.batch)):
                yield order[step * self.batch :][: self.batch]

    def __str__(self) -> str:
        frozen = f" with {' and '.join(self.frozen)} frozen" if self.frozen else ""
        return f"{self.epochs} epochs of batch {self.batch} at learning rate {self.learning_rate:g}{frozen}"


@dataclass(frozen=True)
class Fitted:
    """losses: of every step. seconds: of all runs together. resumed: the step that the last run began at, if not at 0."""

    module: torch.nn.Module
    losses: tuple[float, ...]
    seconds: float
    resumed: int
    device: str


@dataclass(frozen=True)
class Loop:
    """Stages, one after the other."""

    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        return ", then ".join(map(str, self.stages))

    def __call__(self, module: torch.nn.Module, seed: int, progress: Progress) -> torch.nn.Module:
        """What a Task's `fit` does; on a GPU where there is one."""
        return self.run(module, seed, progress, Engine()).module

    def run(
        self,
        module: torch.nn.Module,
        seed: int,
        progress: Progress,
        engine: Engine,
        checkpoint: Checkpoint | None = None,
    ) -> Fitted:
        """Train the module in place, from where the checkpoint stands; the module ends on the CPU.

        GateFailed if the loss diverges; the checkpoint, which would lead there again, is then removed.
        """
        from edgedl.fitting import Run

        data = [tuple(map(torch.as_tensor, stage.data(progress))) for stage in self.stages]
        _check_shares(self.stages, [len(tensors[0]) for tensors in data], engine.devices)
        fabric = engine.fabric()
        run = Run(self.stages, data, module, seed, progress, fabric, checkpoint)
        fabric.launch()
        try:
            run.finish()
        finally:
            module.to("cpu").eval()
        return Fitted(module, tuple(run.ledger.losses), run.ledger.seconds(), run.resumed, str(fabric.device))


def _check_shares(stages: tuple[Stage, ...], examples: list[int], devices: int) -> None:
    """InvalidInput if a device would have nothing of a batch."""
    for stage, count in zip(stages, examples, strict=True):
        if (batch := min(stage.batch, count)) < devices:
            raise InvalidInput(f"{devices} devices cannot share a batch of {batch}: choose fewer --devices")

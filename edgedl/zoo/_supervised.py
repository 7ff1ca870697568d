"""The training loop that the zoo shares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from edgedl.errors import GateFailed
from edgedl.spec import Array
from edgedl.task import Progress

Loss = Callable[[torch.Tensor], torch.Tensor]
"""The loss of a batch, from the numbers of its examples."""


def fit_classifier(
    module: torch.nn.Module, inputs: Array, labels: Array, *, epochs: int, seed: int, progress: Progress,
    learning_rate: float = 3e-3, batch: int = 64,
) -> torch.nn.Module:  # fmt: skip
    """Cross entropy under `fit_by`, for a module of one input that returns logits."""
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    module.requires_grad_(True)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return cross_entropy(module(x[rows]), y[rows])

    return fit_by(
        module, loss, len(x), epochs=epochs, seed=seed, progress=progress, learning_rate=learning_rate, batch=batch
    )


def fit_by(
    module: torch.nn.Module, loss: Loss, examples: int, *, epochs: int, seed: int, progress: Progress,
    learning_rate: float = 3e-3, batch: int = 64, clip: float = float("inf"),
) -> torch.nn.Module:  # fmt: skip
    """AdamW under a one-cycle schedule; the same seed gives the same weights on one machine. GateFailed if the loss diverges.

    clip: the largest norm of the gradient that is used as it is. Parameters that need no gradient stay as they are.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    generator, a_round = torch.Generator().manual_seed(seed), max(1, examples // batch)
    steps = a_round * epochs
    optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    module.train()
    for step in range(steps):
        if step % a_round == 0:
            order = torch.randperm(examples, generator=generator)
        value = loss(order[step % a_round * batch :][:batch])
        if not torch.isfinite(value):
            raise GateFailed(f"training diverged: the loss is {value.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    return module.eval()

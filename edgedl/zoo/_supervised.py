"""The training loop that the small classifiers share."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from edgedl.errors import GateFailed
from edgedl.spec import Array
from edgedl.task import Progress


def fit_classifier(
    module: torch.nn.Module, inputs: Array, labels: Array, *, epochs: int, seed: int, progress: Progress,
    learning_rate: float = 3e-3, batch: int = 64,
) -> torch.nn.Module:  # fmt: skip
    """Adam under a one-cycle schedule; the same seed gives the same weights on one machine. GateFailed if the loss diverges."""
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    steps = (len(x) // batch) * epochs
    optimizer = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    module.train().requires_grad_(True)
    for step in range(steps):
        if step % (len(x) // batch) == 0:
            order = torch.randperm(len(x), generator=generator)
        rows = order[(step * batch) % (len(x) // batch * batch) :][:batch]
        loss = cross_entropy(module(x[rows]), y[rows])
        if not torch.isfinite(loss):
            raise GateFailed(f"training diverged: the loss is {loss.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    return module.eval()

"""Training a task through its own `fit`."""

from __future__ import annotations

from pathlib import Path

import torch

from edgedl import weights
from edgedl.errors import InvalidInput
from edgedl.exporting import Subject, eager, resolve
from edgedl.files import output_folder, refuse_existing
from edgedl.program import program_of
from edgedl.task import Progress, Score


def train(
    task: Subject,
    out: str | Path = ".",
    *,
    seed: int = 0,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> tuple[Path, Score | None]:
    """Train, and write `out/NAME.safetensors`; returns its path and the score on held-out data, where the task has one.

    InvalidInput if the task has no `fit`.
    """
    resolved, _ = resolve(task)
    if resolved.fit is None:
        raise InvalidInput(
            f"{resolved.name} cannot be trained: its Task has no fit; give trained weights with --weights"
        )
    path = output_folder(Path(out)) / f"{resolved.name}.safetensors"
    if not force:
        refuse_existing(path)
    torch.manual_seed(seed)
    module = resolved.fit(resolved.model(), seed, progress)
    score = resolved.evaluate(eager(program_of(resolved, module))) if resolved.evaluate else None
    weights.save(module, path)
    return path, score

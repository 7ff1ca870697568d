"""Training after pruning, through the task's own `fit`, with the original as teacher.

The teacher needs no change of `fit`: while it trains, a hook on the pruned module runs the original on the same inputs and
adds to the gradient of each output that of the squared distance to the original's output, in units of the variance of the
latter (Ba & Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014, for the squared distance of logits).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from edgedl.checkpoint import Checkpoint
from edgedl.engine import Engine
from edgedl.exporting import eager
from edgedl.module_copy import full_copy
from edgedl.program import named_tensors, program_of
from edgedl.pruning.outcome import Options
from edgedl.pruning.workshop import Workshop
from edgedl.task import Progress, Score, Task
from edgedl.training import fit
from edgedl.verify.evidence import score_drop, scored

STRENGTH = 1.0
"""Weight of the teacher's loss beside the task's own."""


class Teaching:
    """heard: how many batches the teacher took part in; 0 where `fit` never called the module."""

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher, self.heard = teacher, 0

    def __call__(self, student: nn.Module, inputs: Any, keywords: Any, outputs: Any) -> None:
        if not student.training or not torch.is_grad_enabled():
            return
        given = [tensor for tensor in (*inputs, *keywords.values()) if isinstance(tensor, torch.Tensor)]
        with torch.no_grad():
            taught = named_tensors(self.teacher.to(given[0].device if given else "cpu")(*inputs, **keywords))
        for (_, got), (_, want) in zip(named_tensors(outputs), taught, strict=True):
            if got.requires_grad and got.is_floating_point() and got.shape == want.shape:
                got.register_hook(_with_distance(got.detach(), want))  # type: ignore[no-untyped-call]
        self.heard += 1


def _with_distance(got: torch.Tensor, want: torch.Tensor) -> Any:
    """A hook that adds the gradient of STRENGTH x sum((got - want)^2) / sum((want - mean)^2)."""
    spread = (want - want.mean()).square().sum().clamp_min(1e-12)
    added = STRENGTH * 2 * (got - want) / spread
    return lambda gradient: gradient + added


@contextlib.contextmanager
def taught_by(teacher: nn.Module, student: nn.Module) -> Iterator[Teaching]:
    """While this lasts, `student` learns from a copy of the teacher too, whoever trains it."""
    teaching = Teaching(full_copy(teacher).eval().requires_grad_(False))
    handle = student.register_forward_hook(teaching, with_kwargs=True)
    try:
        yield teaching
    finally:
        handle.remove()


@contextlib.contextmanager
def zeros_kept(module: nn.Module) -> Iterator[None]:
    """While this lasts, weights that are zero stay zero: unstructured and N:M pruning survive training."""
    masks = {name: parameter.detach() != 0 for name, parameter in module.named_parameters() if parameter.dim() > 1}
    hooks = [_masked(p, masks[name]) for name, p in module.named_parameters() if name in masks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name in masks:
                    parameter.mul_(masks[name].to(parameter.device))


def _masked(parameter: nn.Parameter, mask: torch.Tensor) -> Any:
    return parameter.register_hook(lambda gradient: gradient * mask.to(gradient.device))  # type: ignore[no-untyped-call]


@dataclass
class Recovery:
    """original: the teacher. reference: its score, None where the task has none. rounds, taught: how much was trained."""

    task: Task
    options: Options
    original: nn.Module
    reference: Score | None
    shop: Workshop
    progress: Progress
    rounds: int = 0
    taught: int = 0

    def recovered(self, module: nn.Module, step: int, rounds: int) -> nn.Module:
        """The best of the module and its trainings; no more than `rounds` of these, and none after the budget is met."""
        if self.task.fit is None:
            return module
        best, latest, least = module, module, self.drop(module)
        for number in range(1, rounds + 1):
            if least is not None and least <= self.options.max_drop:
                break
            latest = self.shop.trained(f"step{step}.round{number}", full_copy(latest), self._trained)
            self.rounds += 1
            drop = self.drop(latest)
            if least is None or drop is None or drop <= least:
                best, least = latest, drop
            if drop is None:
                break
        return best

    def _trained(self, student: nn.Module) -> nn.Module:
        checkpoint = Checkpoint(self.shop.folder / "training.checkpoint", f"round {self.rounds + 1}")
        sparse = self.options.method != "structured"
        with contextlib.ExitStack() as stack:
            teaching = stack.enter_context(taught_by(self.original, student)) if self.options.teacher else None
            if sparse:
                stack.enter_context(zeros_kept(student))
            task = replace(self.task, model=lambda: student)
            fitted = fit(task, self.options.seed + self.rounds + 1, self.progress, Engine(), checkpoint)
        checkpoint.remove()
        self.taught += teaching.heard if teaching else 0
        return fitted.module

    def drop(self, module: nn.Module) -> float | None:
        """How much worse than the original the module scores; None where the task has no score."""
        if self.reference is None:
            return None
        return score_drop(self.reference, self.score(module)).drop

    def score(self, module: nn.Module) -> Score:
        assert self.task.evaluate
        return scored(self.task.evaluate, eager(program_of(self.task, module)))

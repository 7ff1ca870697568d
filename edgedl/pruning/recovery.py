"""Training after pruning, through the task's own `fit`, with the original as teacher.

The teacher needs no change of `fit`: while it trains, a hook on the pruned module runs the original on the same inputs and
adds to the gradient of each output that of the squared distance to the original's output, in units of the variance of the
latter (Ba & Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014, for the squared distance of logits).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from edgedl.program import named_tensors

STRENGTH = 1.0
"""Weight of the teacher's loss beside the task's own."""


class Teaching:
    """heard: how many batches the teacher took part in; 0 where `fit` never called the module."""

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher, self.heard = teacher, 0

    def __call__(self, student: nn.Module, inputs: Any, keywords: Any, outputs: Any) -> None:
        if not student.training or not torch.is_grad_enabled():
            return
        with torch.no_grad():
            taught = named_tensors(self.teacher(*inputs, **keywords))
        for (_, got), (_, want) in zip(named_tensors(outputs), taught, strict=True):
            if got.requires_grad and got.is_floating_point() and got.shape == want.shape:
                got.register_hook(_with_distance(got.detach(), want))  # type: ignore[no-untyped-call]
        self.heard += 1


def _with_distance(got: torch.Tensor, want: torch.Tensor) -> Any:
    """A hook that adds the gradient of sum((got - want)^2) / (rows x sum of the variances of want)."""
    spread = (want - want.mean()).square().sum().clamp_min(1e-12)
    added = STRENGTH * 2 * (got - want) / spread
    return lambda gradient: gradient + added


@contextlib.contextmanager
def taught_by(teacher: nn.Module, student: nn.Module) -> Iterator[Teaching]:
    """While this lasts, `student` learns from the teacher too, whoever trains it."""
    teaching = Teaching(teacher.eval().requires_grad_(False))
    handle = student.register_forward_hook(teaching, with_kwargs=True)
    try:
        yield teaching
    finally:
        handle.remove()


@contextlib.contextmanager
def zeros_kept(module: nn.Module) -> Iterator[None]:
    """While this lasts, weights that are zero stay zero: unstructured and N:M pruning survive training."""
    masks = {name: parameter.detach() != 0 for name, parameter in module.named_parameters() if parameter.dim() > 1}
    hooks = [p.register_hook(lambda g, mask=masks[n]: g * mask) for n, p in module.named_parameters() if n in masks]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name in masks:
                    parameter.mul_(masks[name])

"""The training that the zoo's classifiers share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from edgedl.loop import Loop, Stage
from edgedl.spec import Array
from edgedl.task import Progress


def classifier(data: Callable[[Progress], tuple[Array, Array]], epochs: int, clip: float = float("inf")) -> Loop:
    """Cross entropy of a module that takes one input and returns logits. data: (inputs, labels) of the training part."""
    return Loop((Stage(error, data, epochs, clip=clip),))


def error(module: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(module(inputs), labels)

"""Zeros in place of weights: the smallest ones anywhere (unstructured), or N of every M in a row (N:M). Shapes stay."""

from __future__ import annotations

import re

import torch
from torch import nn

from edgedl.errors import InvalidInput
from edgedl.pruning.layers import CONVOLUTIONS
from edgedl.recurrent import KINDS

_PATTERN = re.compile(r"(\d+):(\d+)")


def prunable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weight matrices of linear, convolution, recurrent and attention layers, by name; a shared one once."""
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, CONVOLUTIONS, *KINDS, nn.MultiheadAttention)
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, kinds):
            for key, parameter in layer.named_parameters(recurse=False):
                if parameter.dim() > 1:
                    found[f"{name}.{key}" if name else key] = parameter
    return {name: parameter for name, parameter in found.items() if id(parameter) not in _earlier(found, name)}


def _earlier(found: dict[str, nn.Parameter], name: str) -> set[int]:
    return {id(parameter) for other, parameter in found.items() if list(found).index(other) < list(found).index(name)}


def pattern(method: str) -> tuple[int, int] | None:
    """(2, 4) for `2:4`; None for another method; InvalidInput for an N:M that leaves or removes nothing."""
    found = _PATTERN.fullmatch(method)
    if not found:
        return None
    kept, of = int(found[1]), int(found[2])
    if not 0 < kept < of:
        raise InvalidInput(
            f"--method {method}: expected N:M with N from 1 to M - 1, as 2:4 (2 of every 4 weights are kept)"
        )
    return kept, of


def unstructured(module: nn.Module, sparsity: float) -> None:
    """Zero the given share of all prunable weights, those of least magnitude, wherever they are."""
    weights = list(prunable(module).values())
    magnitudes = torch.cat([weight.detach().abs().ravel() for weight in weights])
    count = round(sparsity * len(magnitudes))
    if not count:
        return
    threshold = magnitudes.kthvalue(count).values
    with torch.no_grad():
        for weight in weights:
            weight.mul_(weight.abs() > threshold)


def n_of_m(module: nn.Module, kept: int, of: int) -> None:
    """Keep the `kept` largest of every `of` weights that lie side by side along the inputs; a row's rest stays whole."""
    with torch.no_grad():
        for weight in prunable(module).values():
            weight.mul_(_mask(weight.detach(), kept, of))


def _mask(weight: torch.Tensor, kept: int, of: int) -> torch.Tensor:
    """Along the second axis, as sparse kernels have it; [out, in, ...]."""
    rows = weight.movedim(1, -1)
    whole = rows.shape[-1] // of * of
    blocks = rows[..., :whole].abs().reshape(*rows.shape[:-1], -1, of)
    order = blocks.argsort(dim=-1, descending=True, stable=True)
    mask = torch.ones_like(rows, dtype=torch.bool)
    largest = torch.zeros_like(blocks, dtype=torch.bool).scatter_(-1, order[..., :kept], True)
    mask[..., :whole] = largest.reshape(*rows.shape[:-1], whole)
    return mask.movedim(-1, 1)


def sparsity(module: nn.Module) -> float:
    """Share of the prunable weights that are zero."""
    weights = list(prunable(module).values())
    return sum(int((weight == 0).sum()) for weight in weights) / max(1, sum(weight.numel() for weight in weights))

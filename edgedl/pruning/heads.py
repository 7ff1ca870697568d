"""Attention heads: those of nn.MultiheadAttention, and those of code that anybody wrote, guessed from its linear layers.

A guess names the layers, the order of their rows and the numbers that the code keeps; a trial tells whether it is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from edgedl.pruning.attention import has_prunable_heads
from edgedl.spec import Array

NAMES = ("heads", "num_heads", "n_heads", "nheads", "n_head", "nhead", "num_attention_heads")


@dataclass(frozen=True)
class Guess:
    """members: (module, side, channels, heads that they belong to). counted: (module, attribute, how much for each head)."""

    name: str
    heads: int
    members: tuple[tuple[str, str, Array, Array], ...]
    counted: tuple[tuple[str, str, int], ...] = ()


def found(module: nn.Module) -> Iterator[Guess]:
    """Guesses, several of them for one attention layer: the first that holds is the one."""
    for name, part in module.named_modules():
        if has_prunable_heads(part):
            every = np.arange(int(part.num_heads))
            yield Guess(name, len(every), ((name, "heads", every, every),))
            continue
        for attribute in NAMES:
            heads = vars(part).get(attribute)
            if type(heads) is int and heads > 1:
                yield from _guesses(module, name, attribute, heads)


def _guesses(module: nn.Module, name: str, attribute: str, heads: int) -> Iterator[Guess]:
    linears = _linears(module, name)
    for members in itertools.chain(_fused(linears, heads), _separate(linears, heads)):
        inner = len(members[-1][2])
        told = ((name, attribute, 1),)
        yield Guess(name, heads, members, told)
        for others in _as_wide(module.get_submodule(name), inner):
            yield Guess(name, heads, members, (*told, *((name, other, inner // heads) for other in others)))


def _linears(module: nn.Module, name: str) -> dict[str, nn.Linear]:
    """The linear layers of the module with the heads, and those beside it."""
    inside = {n: m for n, m in module.named_modules(prefix="") if n.startswith(f"{name}." if name else "") and isinstance(m, nn.Linear)}  # fmt: skip
    parent = name.rpartition(".")[0]
    beside = {n: m for n, m in module.named_modules() if n.startswith(f"{parent}." if parent else "") and isinstance(m, nn.Linear)}  # fmt: skip
    return {**inside, **beside} if len(beside) <= 8 else inside


def _fused(linears: dict[str, nn.Linear], heads: int) -> Iterator[tuple[Any, ...]]:
    """One layer for query, key and value, and one that mixes the heads: [3, heads, width] rows, or [heads, 3, width]."""
    for (first, qkv), (last, mix) in itertools.permutations(linears.items(), 2):
        inner = mix.in_features
        if qkv.out_features == 3 * inner and inner % heads == 0:
            rows, width = np.arange(3 * inner), inner // heads
            columns = (last, "in", np.arange(inner), np.arange(inner) // width)
            yield (first, "out", rows, rows % inner // width), columns
            yield (first, "out", rows, rows // (3 * width)), columns


def _separate(linears: dict[str, nn.Linear], heads: int) -> Iterator[tuple[Any, ...]]:
    """Three layers of one size for query, key and value, and one that mixes the heads, most likely the last."""
    for last, mix in reversed(linears.items()):
        inner = mix.in_features
        same = [name for name, layer in linears.items() if name != last and layer.out_features == inner]
        if len(same) < 3 or inner % heads:
            continue
        every, owner = np.arange(inner), np.arange(inner) // (inner // heads)
        yield *((name, "out", every, owner) for name in same[:3]), (last, "in", every, owner)


def _as_wide(part: nn.Module, inner: int) -> list[tuple[str, ...]]:
    """The attributes that hold the width of all heads together: all of them, or one."""
    names = tuple(name for name, value in vars(part).items() if type(value) is int and value == inner)
    return [names, *((name,) for name in names if len(names) > 1)] if names else []

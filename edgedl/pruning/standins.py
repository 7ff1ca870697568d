"""What stands for a layer while the dependency graph is traced: only which channels meet which matters there."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgedl.module_copy import full_copy
from edgedl.recurrent import KINDS, suffixes


class TracedRecurrent(nn.Module):
    """For nn.RNN, LSTM and GRU: one linear layer for each layer and direction, called by the ending of its weights."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layers, self.batch_first = layer.num_layers, layer.batch_first
        self.is_lstm = isinstance(layer, nn.LSTM)
        self.endings = [suffixes(layer, number) for number in range(layer.num_layers)]
        width = layer.input_size
        for endings in self.endings:
            for ending in endings:
                self.add_module(ending, nn.Linear(width, layer.hidden_size))
            width = layer.hidden_size * len(endings)

    def flatten_parameters(self) -> None:
        """As torch's layers have it."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        time = 1 if self.batch_first and x.dim() == 3 else 0
        start = state[0] if self.is_lstm and state is not None else state
        finals: list[torch.Tensor] = []
        for endings in self.endings:
            outputs = [getattr(self, ending)(x) for ending in endings]
            if start is not None:
                first = len(finals)
                outputs = [out + start[first + k].unsqueeze(time) for k, out in enumerate(outputs)]
            finals += [out.select(time, -1) for out in outputs]
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        final = torch.stack(finals)
        return x, (final, final) if self.is_lstm else final


class TracedAttention(nn.Module):
    """For nn.MultiheadAttention: the width that goes in and out."""

    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.batch_first, self.num_heads, self.embed_dim = layer.batch_first, layer.num_heads, layer.embed_dim
        self.query, self.out = nn.Linear(layer.embed_dim, layer.embed_dim), nn.Linear(layer.embed_dim, layer.embed_dim)
        self.key, self.value = nn.Linear(layer.kdim, layer.embed_dim), nn.Linear(layer.vdim, layer.embed_dim)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> Any:
        read = self.key(key).flatten(0, -2).mean(0) + self.value(value).flatten(0, -2).mean(0)
        return self.out(self.query(query) + read), None


def traceable(module: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    """(a copy to be traced, with a gradient for every parameter; the stand-ins in it by name, without the `module.` before).

    A recurrent layer with projections stays, and what touches it is not pruned.
    """
    scratch = full_copy(module).eval().requires_grad_(True)
    standins: dict[str, nn.Module] = {}
    for name, layer in list(scratch.named_modules()):
        made = _standin(layer)
        if made is not None:
            owner, _, last = name.rpartition(".")
            setattr(scratch.get_submodule(owner), last, made)
            standins[name.removeprefix("module").removeprefix(".")] = made
    for part in scratch.modules():
        if isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False
    return scratch, standins


def _standin(layer: nn.Module) -> nn.Module | None:
    if type(layer) in KINDS and not getattr(layer, "proj_size", 0):
        return TracedRecurrent(layer)
    return TracedAttention(layer) if isinstance(layer, nn.MultiheadAttention) else None

"""What the exporters share about nn.RNN, nn.LSTM and nn.GRU: finding the layers, swapping them, their layouts and states.

torch.export unrolls or decomposes these layers. An exporter swaps each, in a copy of the module, for a subclass of
`Recurrent` that emits what its format has for a whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgedl.module_copy import shared_copy
from edgedl.program import Wrapper

KINDS: dict[type[nn.Module], str] = {nn.LSTM: "LSTM", nn.GRU: "GRU", nn.RNN: "RNN"}
_SETTINGS = (
    "mode",
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "proj_size",
)


def swapped(module: nn.Module, counterpart: Callable[[Any], nn.Module]) -> nn.Module:
    """A copy of `module` with `counterpart(layer)` for every recurrent layer; `module` itself where it has none.

    Each Recurrent among them is labelled with the layer's name in the user's module, or if it is that module with its kind.
    """
    if can_be_swapped(module):
        return _swap(shared_copy(module), counterpart, kind_of(module).lower()).eval()
    if not any(can_be_swapped(child) for child in module.modules()):
        return module
    result = shared_copy(module)
    done: dict[nn.Module, nn.Module] = {}
    for path, parent in list(result.named_modules()):
        for name, child in list(parent._modules.items()):  # named_children leaves out a layer's second name
            if child is not None and can_be_swapped(child):
                label = _users_name(result, f"{path}.{name}".lstrip(".")) or kind_of(child).lower()
                setattr(parent, name, done.get(child) or done.setdefault(child, _swap(child, counterpart, label)))
    return result.eval()


def _users_name(module: nn.Module, path: str) -> str:
    """The path without what wrappers of edgedl's add to it."""
    words: list[str] = []
    for word in path.split("."):
        words += [] if isinstance(module, Wrapper) else [word]
        module = module.get_submodule(word)
    return ".".join(words)


def _swap(layer: nn.Module, counterpart: Callable[[Any], nn.Module], label: str) -> nn.Module:
    """The counterpart; a layer with hooks stays, and its hooks run around the counterpart's `forward`."""
    made = counterpart(layer)
    if isinstance(made, Recurrent):
        made.label = label
    if made is layer or not (layer._forward_hooks or layer._forward_pre_hooks):
        return made
    layer.add_module("counterpart", made)
    layer.forward = made.forward
    return layer


def can_be_swapped(module: nn.Module) -> bool:
    """Whether a call computes what torch's layer does: a subclass, or a `forward` set on the layer, may compute something else."""
    return parametrize.type_before_parametrizations(module) in KINDS and "forward" not in vars(module)


def kind_of(layer: nn.Module) -> str:
    """`LSTM`, `GRU` or `RNN`, also of a layer with parametrized weights."""
    return KINDS[parametrize.type_before_parametrizations(layer)]


def is_projected(layer: nn.Module) -> bool:
    """Whether an LSTM projects its hidden state (`proj_size`), for which ONNX and the loops of TFLite have nothing."""
    return bool(getattr(layer, "proj_size", 0))


class Recurrent(nn.Module):
    """What `layer` computes, in any layout that the layer has: same arguments, same results.

    A subclass gives `_layer`, and may keep what it needs of the layer in buffers. label: the layer's name, for people.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.label = ""
        self.kind = kind_of(layer)
        self.hidden_size: int
        self.num_layers: int
        for setting in _SETTINGS:
            setattr(self, setting, getattr(layer, setting))
        self.directions = 2 if layer.bidirectional else 1

    def name_of(self, number: int) -> str:
        """Of one of its layers, for people: `gru`, `gru.l1` and so on."""
        return self.label if number == 0 else f"{self.label}.l{number}"

    def flatten_parameters(self) -> None:
        """As torch's layers have it: nothing to do."""

    def forward(self, input: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, Any]:
        """As the layer's: [time, batch, input], with batch_first [batch, time, input], or [time, input]."""
        batched = input.dim() == 3
        time_first = self._time_first(input, batched)
        states = self._states(hx, batched)
        finals = []
        for number in range(self.num_layers):
            time_first, *final = self._layer(time_first, states, number)
            finals.append(final)
        last = [torch.cat(parts) for parts in zip(*finals, strict=True)]
        return self._as_given(time_first, batched), self._final(last, batched)

    def _layer(self, x: torch.Tensor, states: list[torch.Tensor], number: int) -> list[torch.Tensor]:
        """One layer: [time, batch, features] -> the same with directions x hidden features, and its final states.

        states: [layers x directions, batch, hidden] each, or none for zeros. Final states: [directions, batch, hidden].
        """
        raise NotImplementedError

    def _time_first(self, sequence: torch.Tensor, batched: bool) -> torch.Tensor:
        if not batched:
            return sequence.unsqueeze(1)
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def _as_given(self, time_first: torch.Tensor, batched: bool) -> torch.Tensor:
        if not batched:
            return time_first.squeeze(1)
        return time_first.transpose(0, 1) if self.batch_first else time_first

    def _states(self, state: Any, batched: bool) -> list[torch.Tensor]:
        """Initial states [layers x directions, batch, hidden]: none, one, or two for LSTM."""
        if state is None:
            return []
        states = list(state) if self.kind == "LSTM" else [state]
        return states if batched else [part.unsqueeze(1) for part in states]

    def _final(self, last: list[torch.Tensor], batched: bool) -> Any:
        parts = last if batched else [part.squeeze(1) for part in last]
        return tuple(parts) if self.kind == "LSTM" else parts[0]


def suffixes(layer: Any, number: int) -> list[str]:
    """The endings of the parameters' names of one layer, one for each direction: `_l0`, `_l0_reverse`."""
    return [f"_l{number}", f"_l{number}_reverse"][: 2 if layer.bidirectional else 1]


def reordered(weight: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """A weight or bias [gates x hidden, ...] with its gates in another order."""
    gates = weight.detach().chunk(len(order))
    return torch.cat([gates[index] for index in order])

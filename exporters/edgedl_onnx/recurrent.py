"""nn.RNN, nn.LSTM and nn.GRU as the ONNX operators of that name, for any length of batch and time.

torch.export unrolls or decomposes the layers and fixes their time axis. Here each layer is swapped, in a copy of the module,
for one that emits the operator itself. Weight layouts: https://onnx.ai/onnx/operators/onnx__LSTM.html (and GRU, RNN).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

# torch's order of the gates -> ONNX's: LSTM i,f,g,o -> i,o,f,c; GRU r,z,n -> z,r,h
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
_KINDS: dict[type[nn.Module], str] = {nn.LSTM: "LSTM", nn.GRU: "GRU", nn.RNN: "RNN"}
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


def with_operators(module: nn.Module) -> nn.Module:
    """A copy of `module` with every recurrent layer swapped; `module` itself where it has none that can be."""
    if not any(_can_be_swapped(child) for child in module.modules()):
        return module
    swapped = copy.deepcopy(module)
    done: dict[nn.Module, nn.Module] = {}
    for parent in list(swapped.modules()):
        for name, child in parent.named_children():
            if _can_be_swapped(child):
                setattr(parent, name, done.setdefault(child, OnnxRecurrent(child)))
    return swapped.eval()


def _can_be_swapped(module: nn.Module) -> bool:
    """A subclass may compute something else, and ONNX has no projected LSTM: both stay as they are."""
    return type(module) in _KINDS and not getattr(module, "proj_size", 0)


class OnnxRecurrent(nn.Module):
    """What `layer` computes, through the ONNX operator; same arguments, same results, in any layout that the layer has."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.kind = _KINDS[type(layer)]
        self.hidden_size: int
        self.num_layers: int
        for setting in _SETTINGS:
            setattr(self, setting, getattr(layer, setting))
        self.directions = 2 if layer.bidirectional else 1
        self.attributes = _attributes(self.kind, layer)
        for number in range(layer.num_layers):
            for letter, weight in zip("WRB", _weights(layer, self.kind, number), strict=True):
                self.register_buffer(f"{letter}{number}", weight)

    def flatten_parameters(self) -> None:
        """As torch's layers have it: nothing to do."""

    def forward(self, sequence: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        """As the layer's: [time, batch, input], with batch_first [batch, time, input], or [time, input]."""
        batched = sequence.dim() == 3
        time_first = self._time_first(sequence, batched)
        states = self._states(state, batched)
        finals = []
        for number in range(self.num_layers):
            time_first, *final = self._layer(time_first, states, number)
            finals.append(final)
        last = [torch.cat(parts) for parts in zip(*finals, strict=True)]
        return self._as_given(time_first, batched), self._final(last, batched)

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

    def _layer(self, x: torch.Tensor, states: list[torch.Tensor], number: int) -> list[torch.Tensor]:
        """One layer: [time, batch, features] -> the same with directions x hidden features, and its final states."""
        rows = slice(number * self.directions, (number + 1) * self.directions)
        weights = [getattr(self, f"{letter}{number}") for letter in "WRB"]
        time, batch, hidden = x.shape[0], x.shape[1], self.hidden_size
        final = (self.directions, batch, hidden)
        shapes = [(time, *final), final, final][: 3 if self.kind == "LSTM" else 2]
        every, *finals = torch.onnx.ops.symbolic_multi_out(
            self.kind, [x, *weights, None, *(state[rows] for state in states)],
            self.attributes, dtypes=[x.dtype] * len(shapes), shapes=shapes, version=14,
        )  # fmt: skip
        return [every.transpose(1, 2).reshape(time, batch, self.directions * hidden), *finals]


def _attributes(kind: str, layer: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    if kind == "RNN" and layer.nonlinearity == "relu":
        attributes["activations"] = ["Relu"] * (2 if layer.bidirectional else 1)
    return attributes


def _weights(layer: Any, kind: str, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W [directions, gates x hidden, input], R [directions, gates x hidden, hidden], B [directions, 2 x gates x hidden]."""
    suffixes = [f"_l{number}", f"_l{number}_reverse"][: 2 if layer.bidirectional else 1]

    def stacked(name: str) -> torch.Tensor:
        return torch.stack([_reordered(getattr(layer, name + suffix).detach(), kind) for suffix in suffixes])

    w, r = stacked("weight_ih"), stacked("weight_hh")
    if not layer.bias:
        return w, r, torch.zeros(w.shape[0], 2 * w.shape[1], dtype=w.dtype)
    return w, r, torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1)


def _reordered(weight: torch.Tensor, kind: str) -> torch.Tensor:
    gates = weight.chunk(len(_GATES[kind]))
    return torch.cat([gates[index] for index in _GATES[kind]])

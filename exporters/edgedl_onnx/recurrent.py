"""nn.RNN, nn.LSTM and nn.GRU as the ONNX operators of that name, for any length of batch and time.

torch.export unrolls or decomposes the layers and fixes their time axis. Here each layer is swapped, in a copy of the module,
for one that emits the operator itself. Weight layouts: https://onnx.ai/onnx/operators/onnx__LSTM.html (and GRU, RNN).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgedl import recurrent
from edgedl.errors import Unsupported

NAME = "edgedl.name"
"""The key of a node's metadata that holds its name"""
# torch's order of the gates -> ONNX's: LSTM i,f,g,o -> i,o,f,c; GRU r,z,n -> z,r,h
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def with_operators(module: nn.Module) -> nn.Module:
    """A copy of `module` with every recurrent layer swapped; `module` itself where it has none that can be."""
    return recurrent.swapped(
        module, lambda layer: (Projected if recurrent.is_projected(layer) else OnnxRecurrent)(layer)
    )


class OnnxRecurrent(recurrent.Recurrent):
    """What `layer` computes, through the ONNX operator; same arguments, same results, in any layout that the layer has."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.attributes = _attributes(self.kind, layer)
        for number in range(layer.num_layers):
            for letter, weight in zip("WRB", _weights(layer, self.kind, number), strict=True):
                self.register_buffer(f"{letter}{number}", weight)

    def _layer(self, x: torch.Tensor, states: list[torch.Tensor], number: int) -> list[torch.Tensor]:
        rows = slice(number * self.directions, (number + 1) * self.directions)
        weights = [getattr(self, f"{letter}{number}") for letter in "WRB"]
        time, batch, hidden = x.shape[0], x.shape[1], self.hidden_size
        final = (self.directions, batch, hidden)
        shapes = [(time, *final), final, final][: 3 if self.kind == "LSTM" else 2]
        every, *finals = torch.onnx.ops.symbolic_multi_out(
            self.kind, [x, *weights, None, *(state[rows] for state in states)],
            self.attributes, dtypes=[x.dtype] * len(shapes), shapes=shapes, version=14, metadata_props={NAME: self.name_of(number)},
        )  # fmt: skip
        return [every.transpose(1, 2).reshape(time, batch, self.directions * hidden), *finals]


class Projected(recurrent.Recurrent):
    """An LSTM with `proj_size`, which ONNX's operator does not have: one step after the other, for a fixed number of steps."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.layer = layer

    def _layer(self, x: torch.Tensor, states: list[torch.Tensor], number: int) -> list[torch.Tensor]:
        if isinstance(x.shape[0], torch.SymInt):
            raise Unsupported(
                f"{self.label} is an LSTM with proj_size, which ONNX has for a fixed number of steps only: take its time axis out of --dynamic"
            )
        first = number * self.directions
        runs = [
            self._direction(x, [state[first + place] for state in states], suffix)
            for place, suffix in enumerate(recurrent.suffixes(self, number))
        ]
        sequences, hidden, cells = zip(*runs, strict=True)
        return [torch.cat(sequences, 2), torch.stack(hidden), torch.stack(cells)]

    def _direction(self, x: torch.Tensor, states: list[torch.Tensor], suffix: str) -> tuple[torch.Tensor, ...]:
        """Outputs [time, batch, proj] in the order of time, and the final states [batch, proj] and [batch, hidden]."""
        w, r, p = (getattr(self.layer, f"weight_{part}{suffix}") for part in ("ih", "hh", "hr"))
        biases = [getattr(self.layer, f"bias_{part}{suffix}") for part in ("ih", "hh")] if self.bias else []
        hidden, cell = states or (x.new_zeros(x.shape[1], p.shape[0]), x.new_zeros(x.shape[1], self.hidden_size))
        outputs = []
        for step in (x.flip(0) if suffix.endswith("_reverse") else x).unbind(0):
            gates = nn.functional.linear(step, w) + nn.functional.linear(hidden, r) + sum(biases)
            i, f, g, o = gates.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = nn.functional.linear(o.sigmoid() * cell.tanh(), p)
            outputs.append(hidden)
        sequence = torch.stack(outputs)
        return sequence.flip(0) if suffix.endswith("_reverse") else sequence, hidden, cell


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
    suffixes = recurrent.suffixes(layer, number)

    def stacked(name: str) -> torch.Tensor:
        return torch.stack([recurrent.reordered(getattr(layer, name + suffix), _GATES[kind]) for suffix in suffixes])

    w, r = stacked("weight_ih"), stacked("weight_hh")
    if not layer.bias:
        return w, r, torch.zeros(w.shape[0], 2 * w.shape[1], dtype=w.dtype)
    return w, r, torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1)

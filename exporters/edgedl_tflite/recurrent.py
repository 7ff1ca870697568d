"""nn.RNN, nn.LSTM and nn.GRU as one operator per layer, which litert-torch would unroll over time.

Each layer is swapped, in a copy of the module, for one that projects the whole sequence by a matrix product and marks
the rest by the operator `edgedl::recurrent`. litert-torch passes it on as a STABLEHLO_CUSTOM_CALL that holds the place;
edgedl_tflite.loops puts a WHILE there. Both directions of a layer run in one loop, side by side along the batch axis,
the reverse one on the flipped sequence.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from edgedl import recurrent
from edgedl_tflite.loops import TARGET

_ORDER = {"LSTM": (0, 1, 3, 2), "GRU": (0, 1, 2), "RNN": (0,)}
"""Our order of torch's gates. LSTM i,f,g,o -> i,f,o,g: the three with a sigmoid lie together."""

torch.library.define(
    "edgedl::recurrent",
    "(Tensor projected, Tensor[] weights, Tensor[] biases, Tensor[] states, str cell, str name) -> Tensor[]",
)


def _shapes(
    projected: torch.Tensor,
    weights: list[torch.Tensor],
    biases: list[torch.Tensor],
    states: list[torch.Tensor],
    cell: str,
    name: str,
) -> list[torch.Tensor]:
    """A sequence [time, batch, hidden] for each direction, and the final states [1, directions x batch, hidden].

    projected: [time, directions x batch, gates x hidden]; weights, biases: one for each direction. name: of the first weight.
    """
    time, rows, _ = projected.shape
    sequences = [projected.new_empty(time, rows // len(weights), weight.shape[1]) for weight in weights]
    return [*sequences, *(torch.empty_like(state) for state in states)]


torch.library.register_fake("edgedl::recurrent", _shapes)


def marked(module: nn.Module) -> nn.Module:
    """A copy of `module` with every recurrent layer of float32 swapped for marks; `module` itself where it has none."""
    result = recurrent.swapped(module, _counterpart)
    if result is not module:
        _register_lowering()
    return result


def _counterpart(layer: Any) -> nn.Module:
    kept: nn.Module = layer
    can = layer.weight_ih_l0.dtype == torch.float32 and not recurrent.is_projected(layer)
    return MarkedRecurrent(layer) if can else kept


class MarkedRecurrent(recurrent.Recurrent):
    """What `layer` computes, up to marks; weights in the order of `_ORDER`."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.cell = {"LSTM": "lstm", "GRU": "gru", "RNN": getattr(layer, "nonlinearity", "")}[self.kind]
        for number in range(layer.num_layers):
            for suffix in recurrent.suffixes(layer, number):
                for name, weight in _weights(layer, self.kind, suffix).items():
                    self.register_buffer(name + suffix, weight)

    def _layer(self, x: torch.Tensor, states: list[torch.Tensor], number: int) -> list[torch.Tensor]:
        batch, hidden = x.shape[1], self.hidden_size
        names = recurrent.suffixes(self, number)
        first = number * self.directions
        own = [state[first : first + self.directions] for state in states] or self._zeros(x)
        rows = [state.reshape(1, self.directions * batch, hidden) for state in own]
        projected = torch.cat([self._projected(x, suffix) for suffix in names], dim=1)
        weights = [self.get_buffer("hidden" + suffix) for suffix in names]
        biases = [b for suffix in names if (b := self._buffers.get("hidden_bias" + suffix)) is not None]
        name = f"{self.label}.weight_hh_l{number}"
        results = torch.ops.edgedl.recurrent(projected, weights, biases, rows, self.cell, name)
        sequences, finals = results[: self.directions], results[self.directions :]
        sequences[1:] = [sequence.flip(0) for sequence in sequences[1:]]
        return [torch.cat(sequences, dim=2), *(final.reshape(self.directions, batch, hidden) for final in finals)]

    def _projected(self, x: torch.Tensor, suffix: str) -> torch.Tensor:
        """The input's part in all gates at all times: [time, batch, gates x hidden], in the order of the direction."""
        ordered = x.flip(0) if suffix.endswith("_reverse") else x
        return nn.functional.linear(ordered, self.get_buffer("input" + suffix), self._buffers.get("bias" + suffix))

    def _zeros(self, x: torch.Tensor) -> list[torch.Tensor]:
        shape = (self.directions, x.shape[1], self.hidden_size)
        return [x.new_zeros(shape) for _ in range(2 if self.kind == "LSTM" else 1)]


def _weights(layer: Any, kind: str, suffix: str) -> dict[str, torch.Tensor]:
    """The weights of one direction by name; only GRU needs the second bias inside the loop, as its reset gate scales it."""
    order = _ORDER[kind]
    weights = {
        "input": recurrent.reordered(getattr(layer, "weight_ih" + suffix), order),
        "hidden": recurrent.reordered(getattr(layer, "weight_hh" + suffix), order),
    }
    if not layer.bias:
        return weights
    biases = [recurrent.reordered(getattr(layer, f"bias_{part}" + suffix), order) for part in ("ih", "hh")]
    if kind == "GRU":
        return {**weights, "bias": biases[0], "hidden_bias": biases[1]}
    return {**weights, "bias": biases[0] + biases[1]}


@functools.cache
def _register_lowering() -> None:
    """Tell litert-torch how the mark is written; once per process."""
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo
    from litert_torch.backend import lowerings

    def lower(
        context: Any, projected: Any, weights: list[Any], biases: list[Any], states: list[Any], cell: str, name: str
    ) -> list[Any]:
        time, rows, _ = ir.ShapedType(projected.type).shape
        hidden = ir.ShapedType(weights[0].type).shape[1]
        element = ir.ShapedType(projected.type).element_type
        sequence = ir.RankedTensorType.get([time, rows // len(weights), hidden], element)
        call = stablehlo.CustomCallOp(
            result=[*[sequence] * len(weights), *(state.type for state in states)],
            inputs=[projected, *weights, *biases, *states],
            call_target_name=ir.StringAttr.get(f"{TARGET}.{cell}.{len(weights)}.{name}", context.ir_context),
        )
        return list(call.results)

    lowerings.lower(torch.ops.edgedl.recurrent)(lower)

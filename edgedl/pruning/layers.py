"""How each kind of layer loses channels: the sides that it has, how long they are, and how one is cut or silenced.

side            layers                                          what goes
out             Linear, Conv, Embedding, norms, PReLU           output channels or features
in              Linear, Conv, RNN, LSTM, GRU                    input channels or features
channels        depthwise Conv                                  both at once
hidden_l0, ...  RNN, LSTM, GRU                                  hidden units of a layer (and `_reverse` direction)
heads           MultiheadAttention                              whole heads
NAME.AXIS       any module with a parameter NAME                slices of that parameter along AXIS
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgedl.pruning.attention import SlimAttention
from edgedl.recurrent import KINDS, suffixes

CONVOLUTIONS = nn.modules.conv._ConvNd
TRANSPOSED = nn.modules.conv._ConvTransposeNd
FEATURES = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
_PARAMETER = re.compile(r"(\w+)\.(\d)")
_HIDDEN = re.compile(r"hidden(_l\d+(?:_reverse)?)")


def kind_of(layer: nn.Module, side: str) -> str:
    """The sides of the table, with one name for all hidden layers and for all parameters; "" where there is no such side."""
    if found := _PARAMETER.fullmatch(side):
        parameter = layer._parameters.get(found[1])
        return "parameter" if parameter is not None and int(found[2]) < parameter.dim() else ""
    if (found := _HIDDEN.fullmatch(side)) and type(layer) in KINDS and hasattr(layer, f"weight_hh{found[1]}"):
        return "hidden"
    return side if side in _SIDES and isinstance(layer, _SIDES[side]) else ""


_SIDES: dict[str, Any] = {
    "out": (nn.Linear, CONVOLUTIONS, nn.Embedding, *FEATURES, nn.LayerNorm, nn.GroupNorm, nn.PReLU),
    "in": (nn.Linear, CONVOLUTIONS, *KINDS),
    "channels": (CONVOLUTIONS,),
    "heads": (nn.MultiheadAttention,),
}


def is_depthwise(layer: Any) -> bool:
    return isinstance(layer, CONVOLUTIONS) and 1 < layer.groups == layer.in_channels == layer.out_channels


def extent(layer: Any, side: str) -> int:
    """How many channels, units, heads or slices the side has."""
    kind = kind_of(layer, side)
    if kind == "parameter":
        name, axis = _PARAMETER.fullmatch(side).groups()  # type: ignore[union-attr]
        return int(getattr(layer, name).shape[int(axis)])
    if kind == "hidden":
        return int(getattr(layer, f"weight_hh{side.removeprefix('hidden')}").shape[1])
    if kind == "heads":
        return int(layer.num_heads)
    attribute = next(a for a in _COUNTS[kind] if hasattr(layer, a))
    count = getattr(layer, attribute)
    return int(count[-1] if isinstance(count, tuple) else count)


_COUNTS = {
    "out": (
        "out_features", "out_channels", "embedding_dim", "num_features", "normalized_shape", "num_channels", "num_parameters",
    ),
    "in": ("in_features", "in_channels", "input_size"),
    "channels": ("out_channels",),
}  # fmt: skip


def cut(layer: Any, side: str, kept: torch.Tensor) -> nn.Module:
    """The layer with only the `kept` channels of one side; changed in place, but for attention, which is replaced.

    The tensors are new ones: a copy of a module that shares its parameters can be cut without harm to the original.
    """
    kind = kind_of(layer, side)
    if kind == "parameter":
        name, axis = _PARAMETER.fullmatch(side).groups()  # type: ignore[union-attr]
        _keep(layer, name, int(axis), kept)
    elif kind == "hidden":
        _cut_hidden(layer, side.removeprefix("hidden"), kept)
    elif kind == "heads":
        return SlimAttention.cut(layer, kept)
    elif type(layer) in KINDS:
        for suffix in suffixes(layer, 0):
            _keep(layer, f"weight_ih{suffix}", 1, kept)
        layer.input_size = len(kept)
    elif isinstance(layer, CONVOLUTIONS):
        _cut_convolution(layer, kind, kept)
    else:
        _cut_features(layer, kind, kept)
    return layer  # type: ignore[no-any-return]


def _cut_features(layer: Any, kind: str, kept: torch.Tensor) -> None:
    """Linear, embeddings and what has one value per channel."""
    axis = 1 if kind == "in" or isinstance(layer, nn.Embedding) else 0
    for name in ("weight",) if kind == "in" else ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(layer, name, None)
        if isinstance(tensor, torch.Tensor) and not (isinstance(layer, nn.PReLU) and tensor.numel() == 1):
            _keep(layer, name, tensor.dim() - 1 if isinstance(layer, nn.LayerNorm) else axis, kept)
    attribute = next(a for a in _COUNTS[kind] if hasattr(layer, a))
    old = getattr(layer, attribute)
    if not (isinstance(layer, nn.PReLU) and old == 1):
        setattr(layer, attribute, (*old[:-1], len(kept)) if isinstance(old, tuple) else len(kept))


def _cut_convolution(layer: Any, kind: str, kept: torch.Tensor) -> None:
    if isinstance(layer, TRANSPOSED) and layer.groups > 1:
        raise NotImplementedError("a transposed convolution in groups")
    out_axis, in_axis = (1, 0) if isinstance(layer, TRANSPOSED) else (0, 1)
    if kind == "in":
        if layer.groups > 1:
            _cut_grouped_inputs(layer, kept)
        else:
            _keep(layer, "weight", in_axis, kept)
        layer.in_channels = len(kept)
        return
    _keep(layer, "weight", out_axis, kept)
    _keep(layer, "bias", 0, kept)
    layer.out_channels = len(kept)
    if kind == "channels":
        layer.in_channels = layer.groups = len(kept)


def _cut_grouped_inputs(layer: Any, kept: torch.Tensor) -> None:
    """Each group of outputs has inputs of its own: as many are kept in each, at places that may differ."""
    per_group = kept.reshape(layer.groups, -1) % (layer.in_channels // layer.groups)
    blocks = layer.weight.detach().chunk(layer.groups)
    parts = [block.index_select(1, places) for block, places in zip(blocks, per_group, strict=True)]
    layer.weight = nn.Parameter(torch.cat(parts), layer.weight.requires_grad)


def _cut_hidden(layer: Any, suffix: str, kept: torch.Tensor) -> None:
    """Hidden units of one layer and direction: their gates, what they feed back, and what the next layer reads of them."""
    old, number = extent(layer, f"hidden{suffix}"), int(suffix.split("_")[1][1:])
    rows = torch.cat([kept + gate * old for gate in range(_GATES[KINDS[type(layer)]])])
    columns = _columns_of_next(layer, suffix, kept)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        _keep(layer, name + suffix, 0, rows)
    _keep(layer, f"weight_hh{suffix}", 1, kept)
    if number + 1 < layer.num_layers:
        for following in suffixes(layer, number + 1):
            _keep(layer, f"weight_ih{following}", 1, columns)
    layer.hidden_size = len(kept)


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _columns_of_next(layer: Any, suffix: str, kept: torch.Tensor) -> torch.Tensor:
    """The features of the layer that are left when one direction keeps `kept`: the directions stand side by side."""
    if not layer.bidirectional:
        return kept
    forward, backward = (suffix.removesuffix("_reverse") + end for end in ("", "_reverse"))
    first, second = extent(layer, f"hidden{forward}"), extent(layer, f"hidden{backward}")
    if suffix == forward:
        return torch.cat([kept, first + torch.arange(second)])
    return torch.cat([torch.arange(first), first + kept])


def _keep(layer: Any, name: str, axis: int, kept: torch.Tensor) -> None:
    tensor = getattr(layer, name, None)
    if tensor is None:
        return
    left = tensor.detach().index_select(axis, kept).clone()
    setattr(layer, name, nn.Parameter(left, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else left)


def per_channel(layer: Any, side: str, of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """[extent]: `of` each weight of the side, summed over every channel, unit, head or slice."""
    kind, count = kind_of(layer, side), extent(layer, side)
    sums = [_summed(of(weight), axis, blocks, count) for weight, axis, blocks in _weights(layer, side, kind)]
    return torch.stack(sums).sum(0) if sums else torch.zeros(count)


def _summed(values: torch.Tensor, axis: int, blocks: int, count: int) -> torch.Tensor:
    """Sums over `count` channels along the axis; the channels may come `blocks` times, and may be several rows wide."""
    return values.movedim(axis, 0).reshape(blocks, count, -1).sum((0, 2))


def _weights(layer: Any, side: str, kind: str) -> list[tuple[torch.Tensor, int, int]]:
    """(weight, the axis of its channels, how often they come) of a side."""
    if kind == "parameter":
        name, axis = _PARAMETER.fullmatch(side).groups()  # type: ignore[union-attr]
        return [(getattr(layer, name), int(axis), 1)]
    if kind == "hidden":
        ending, gates = side.removeprefix("hidden"), _GATES[KINDS[type(layer)]]
        own, back = getattr(layer, f"weight_ih{ending}"), getattr(layer, f"weight_hh{ending}")
        return [(own, 0, gates), (back, 0, gates), (back, 1, 1)]
    if kind == "heads":
        return [(layer.in_proj_weight, 0, 3), (layer.out_proj.weight, 1, 1)]
    if kind == "in" and type(layer) in KINDS:
        return [(getattr(layer, f"weight_ih{ending}"), 1, 1) for ending in suffixes(layer, 0)]
    if kind == "in" and isinstance(layer, CONVOLUTIONS) and layer.groups > 1:
        return []
    weight = layer.weight
    if weight is None or weight.numel() == 1:
        return []
    last_first = isinstance(layer, TRANSPOSED | nn.Embedding) or (weight.dim() == 2 and isinstance(layer, nn.LayerNorm))
    first, second = (1, 0) if last_first else (0, 1)
    return [(weight, second if kind == "in" else first, 1)]


def silence(layer: Any, side: str, removed: torch.Tensor) -> None:
    """Make the layer deaf to the removed channels, where the side is one that it reads: what a cut must agree with."""
    kind = kind_of(layer, side)
    if kind == "hidden":
        _silence_hidden(layer, side.removeprefix("hidden"), removed)
    elif kind == "heads":
        width = layer.head_dim
        columns = (removed[:, None] * width + torch.arange(width)).flatten()
        _zero(layer.out_proj, "weight", 1, columns)
    elif kind == "in" and type(layer) in KINDS:
        for suffix in suffixes(layer, 0):
            _zero(layer, f"weight_ih{suffix}", 1, removed)
    elif kind == "in" and isinstance(layer, CONVOLUTIONS) and layer.groups > 1:
        _silence_grouped_inputs(layer, removed)
    elif kind == "in":
        _zero(layer, "weight", 0 if isinstance(layer, TRANSPOSED) else 1, removed)


def _silence_grouped_inputs(layer: Any, removed: torch.Tensor) -> None:
    weight, per_group = layer.weight.detach().clone(), layer.in_channels // layer.groups
    rows = layer.out_channels // layer.groups
    for channel in removed.tolist():
        group, place = divmod(channel, per_group)
        weight[group * rows : (group + 1) * rows, place] = 0
    layer.weight = nn.Parameter(weight)


def _silence_hidden(layer: Any, suffix: str, removed: torch.Tensor) -> None:
    _zero(layer, f"weight_hh{suffix}", 1, removed)
    number = int(suffix.split("_")[1][1:])
    if number + 1 < layer.num_layers:
        offset = layer.hidden_size if suffix.endswith("_reverse") else 0
        for following in suffixes(layer, number + 1):
            _zero(layer, f"weight_ih{following}", 1, offset + removed)


def _zero(layer: Any, name: str, axis: int, channels: torch.Tensor) -> None:
    weight = getattr(layer, name).detach().clone()
    setattr(layer, name, nn.Parameter(weight.index_fill(axis, channels, 0.0)))

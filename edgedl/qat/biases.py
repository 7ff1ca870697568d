"""The biases of an int8 graph, in the steps in which integer kernels add them."""

from __future__ import annotations

import functools

import torch

from edgedl.qat.annotate import WEIGHTED

_LARGEST = 2.0**31 - 1


def round_biases(graph: torch.fx.GraphModule) -> None:
    """Each bias of a converted graph becomes a multiple of input scale x weight scale; edits `graph`.

    The files hold them as int32. Kept in float here, they would move every sum by up to half of such a step, so that one in
    a thousand of the first layer's outputs is rounded the other way, and more behind each layer that follows. A bias that several
    operators share is rounded for each: their inputs have scales of their own.
    """
    for node in list(graph.graph.nodes):
        if str(node.target) in WEIGHTED and (scale := _scale(graph, node)) is not None:
            bias = _constant(graph, node.args[2])
            steps = torch.round(bias.double() / scale.double()).clamp(-_LARGEST, _LARGEST)
            name = f"{node.name}_rounded_bias"
            graph.register_buffer(name, (steps * scale.double()).float())
            with graph.graph.inserting_before(node):
                rounded = graph.graph.get_attr(name)
            rounded.meta = dict(node.args[2].meta)
            node.update_arg(2, rounded)
    graph.recompile()


def _scale(graph: torch.fx.GraphModule, node: torch.fx.Node) -> torch.Tensor | None:
    """A step for each output channel; None where there is no bias, or the input or the weight is float."""
    if len(node.args) < 3 or not isinstance(node.args[2], torch.fx.Node) or node.args[2].op != "get_attr":
        return None
    inputs, weights = (value for value in node.args[:2] if isinstance(value, torch.fx.Node))
    kinds = [str(value.target).rpartition(".")[0] for value in (inputs, weights)]
    if kinds != ["quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel"]:
        return None
    scale = inputs.args[1]
    step = _constant(graph, scale) if isinstance(scale, torch.fx.Node) else torch.tensor(scale)
    return step * _constant(graph, weights.args[1])


def _constant(graph: torch.fx.GraphModule, node: object) -> torch.Tensor:
    """The parameter or buffer that a get_attr node stands for."""
    assert isinstance(node, torch.fx.Node)
    value = functools.reduce(getattr, str(node.target).split("."), graph)
    assert isinstance(value, torch.Tensor)
    return value.detach()

"""Rewrites of a traced graph that every format needs: what an exporter would otherwise lose of torch's meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node

from edgedl.decompositions import decompose

_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_MASK = 3
"""Position of the mask among the arguments of attention"""
_MINUS_INFINITY = float("-inf")


def lower(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Write what formats lack with other operators, and make attention give zeros where its mask hides every key.

    Edits the program's graph or makes another program.

    Exporters write attention with a plain softmax, which gives NaN or the mean of all values there. Attention without a
    mask, or with a constant mask that leaves a key to every query, stays as it is.
    """
    exported = decompose(exported)
    masked = [node for node in exported.graph.nodes if node.target is _ATTENTION and _mask_of(node) is not None]
    constants = _constants(exported) if masked else {}
    for node in masked:
        if _may_hide_all(_mask_of(node), constants):
            _guard(exported.graph, node)
    if masked:
        exported.graph_module.recompile()
    return exported


def _mask_of(attention: Node) -> Any:
    return attention.args[_MASK] if len(attention.args) > _MASK else attention.kwargs.get("attn_mask")


def _guard(graph: Graph, attention: Node) -> None:
    """Show every key to the queries that see none, and multiply what attention gives them by zero."""
    call = _Calls(graph, attention)
    mask, aten = _mask_of(attention), torch.ops.aten
    with graph.inserting_before(attention):
        if mask.meta["val"].dtype == torch.bool:
            seen = call(aten.any.dim, mask, -1, True)
            shown = call(aten.logical_or.default, mask, call(aten.logical_not.default, seen))
        else:
            seen = call(aten.ne.Scalar, call(aten.amax.default, mask, [-1], True), _MINUS_INFINITY)
            shown = call(aten.where.ScalarOther, seen, mask, 0.0)
        factor = call(aten.to.dtype, seen, attention.meta["val"].dtype)
    attention.update_arg(_MASK, shown) if len(attention.args) > _MASK else attention.update_kwarg("attn_mask", shown)
    users = list(attention.users)
    with graph.inserting_after(attention):
        product = call(aten.mul.Tensor, attention, factor)
    for user in users:
        user.replace_input_with(attention, product)


class _Calls:
    """Adds calls of operators to a graph, with the values that tracing would have noted and the source line of `like`."""

    def __init__(self, graph: Graph, like: Node) -> None:
        self._graph = graph
        self._meta = {key: value for key, value in like.meta.items() if key in ("stack_trace", "nn_module_stack")}

    def __call__(self, target: Callable[..., Any], *args: Any) -> Node:
        node = self._graph.call_function(target, args)
        values = [arg.meta["val"] if isinstance(arg, Node) else arg for arg in args]
        node.meta = {**self._meta, "val": target(*values)}
        return node


def _may_hide_all(mask: Node, constants: Mapping[Node, torch.Tensor]) -> bool:
    """Whether a row of the mask can be all False, or all minus infinity; a mask that no input reaches is computed."""
    try:
        value = _computed(mask, constants)
    except _DependsOnInputError:
        return True
    seen = value if value.dtype == torch.bool else value != _MINUS_INFINITY
    return not bool(seen.any(-1).all())


class _DependsOnInputError(Exception):
    """The value of a node is not known before the model runs."""


def _computed(mask: Node, constants: Mapping[Node, torch.Tensor]) -> torch.Tensor:
    """The value of a node that depends on constants, and on lengths, which count as those of the example."""
    known: dict[Node, Any] = {}

    def value(node: Node) -> Any:
        if node not in known:
            known[node] = constants[node].clone() if node in constants else _run(node, value)
        return known[node]

    with torch.no_grad():
        result: torch.Tensor = value(mask)
    return result


def _run(node: Node, value: Callable[[Node], Any]) -> Any:
    if isinstance(length := node.meta.get("val"), torch.SymInt):
        return int(length.node.hint)
    if node.op != "call_function":
        raise _DependsOnInputError
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), value)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _constants(exported: torch.export.ExportedProgram) -> dict[Node, torch.Tensor]:
    """The tensors that the program holds, by the node that stands for each."""
    signature = exported.graph_signature.input_specs
    targets = {spec.arg.name: spec.target for spec in signature if spec.kind != InputKind.USER_INPUT}
    held = {**exported.state_dict, **exported.constants}
    return {node: held[targets[node.name]] for node in exported.graph.nodes if node.name in targets}

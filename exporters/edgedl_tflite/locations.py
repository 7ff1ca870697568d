"""Which node of the traced graph an operator of the file, or of the converter's words, comes from."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Nodes = dict[str, torch.fx.Node]
_MARK = re.compile(r"node<(\w+)>")
_INT32, _INT64 = torch.iinfo(torch.int32), torch.iinfo(torch.int64)


class WideIntegerError(ValueError):
    """An integer of the model needs more bits than TFLite's kernels compute with."""


@contextmanager
def watched(nodes: Nodes | None = None) -> Iterator[None]:
    """Make litert-torch refuse integers that it would cut to 32 bits.

    Args:
        nodes: Filled with the nodes that are lowered; tensors and errors then bear the names of nodes, for `node_in`.

    Raises:
        WideIntegerError: From within the conversion.
    """
    from litert_torch.backend import export

    interpreter: Any = export.LoweringInterpreter
    build = interpreter._build_loc

    def build_loc(self: Any, node: torch.fx.Node) -> Any:
        _refuse_wide_integers(node)
        if nodes is None:
            return build(self, node)
        nodes[node.name] = node
        name = f"node<{node.name}>"
        return export.ir.Location.name(name=name, childLoc=export.ir.Location.file(filename=name, line=1, col=0))

    interpreter._build_loc = build_loc
    try:
        yield
    finally:
        interpreter._build_loc = build


def node_in(text: str, nodes: Nodes) -> torch.fx.Node | None:
    """The first node that a text names."""
    return next((nodes[name] for name in _MARK.findall(text) if name in nodes), None)


def output_node(nodes: Nodes, position: int) -> torch.fx.Node:
    """What computes one of the results of the nodes' graph; position: from the end, as what is mutated stands in front."""
    result: torch.fx.Node = next(iter(nodes.values())).graph.output_node().args[0][position]  # type: ignore[index, assignment]
    return result.all_input_nodes[0] if result.target is operator.getitem else result


def _refuse_wide_integers(node: torch.fx.Node) -> None:
    values = [other.meta.get("val") for other in (node, *node.all_input_nodes)]
    real = any(isinstance(value, torch.Tensor) and value.dtype.is_floating_point for value in values)
    if real or node.op != "call_function" or "slice" in str(node.target):
        return
    wide = next((n for n in _integers(node.args) if not _fits(n)), None)
    if wide is not None:
        raise WideIntegerError(f"the integer {wide} does not fit the 32 bits that TFLite computes with")


def _integers(values: Iterable[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _integers(value)
        elif isinstance(value, int):
            yield value


def _fits(number: int) -> bool:
    """Whether 32 bits hold it; the limits of int64 stand for no limit."""
    return _INT32.min <= number <= _INT32.max or number in (_INT64.min, _INT64.max)

"""The tensors that a torch program computes on the way, each with the user's line that made it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch

from edgedl import tracing
from edgedl.exporter import Program
from edgedl.source_lines import user_line
from edgedl.spec import Array, Feeds


@dataclass(frozen=True)
class Node:
    """name: of the torch.fx node. line: `net.py:12`, or None where torch kept none.

    parents: names of the recorded nodes that it was computed from, through what is not recorded (tuples, integers, scalars).
    """

    name: str
    line: str | None
    parents: tuple[str, ...]
    value: Array


class TorchGraph:
    """A program traced at the shapes of `feeds`, in the task's layout. outputs: node name -> name of the output that it is."""

    def __init__(self, program: Program, feeds: Feeds) -> None:
        self._names = tuple(program.inputs)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._module = tracing.export(program.module, self._arguments(feeds)).module()
        self.outputs = {node.name: name for node, name in zip(_returned(self._module), program.outputs, strict=False)}
        self._live = _computed(self._module) & _needed(self._module)

    def nodes(self, feeds: Feeds) -> list[Node]:
        """Every float32 tensor of more than one element between inputs and outputs, in the order of computation.

        What depends on no input or leads to no output is left out: a file need not have it. `feeds` has the traced shapes.
        """
        with torch.no_grad():
            recorder = _Recorder(self._module, self._live)
            recorder.run(*self._arguments(feeds))
        return recorder.nodes

    def _arguments(self, feeds: Feeds) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(feeds[name]) for name in self._names)


class _Recorder(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule, live: set[str]) -> None:
        super().__init__(module)
        self.nodes: list[Node] = []
        self._live = live
        self._nearest: dict[str, tuple[str, ...]] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        parents = tuple(dict.fromkeys(name for parent in n.all_input_nodes for name in self._nearest[parent.name]))
        self._nearest[n.name] = parents
        tensor = n.name in self._live and isinstance(value, torch.Tensor)
        if tensor and value.dtype == torch.float32 and value.numel() > 1:
            self.nodes.append(Node(n.name, user_line(n.meta.get("stack_trace")), parents, value.numpy().copy()))
            self._nearest[n.name] = (n.name,)
        return value


def _computed(module: torch.fx.GraphModule) -> set[str]:
    """The names of the nodes that depend on an input."""
    found = {node.name for node in module.graph.nodes if node.op == "placeholder"}
    for node in module.graph.nodes:
        if node.op == "call_function" and any(parent.name in found for parent in node.all_input_nodes):
            found.add(node.name)
    return {node.name for node in module.graph.nodes if node.op == "call_function" and node.name in found}


def _needed(module: torch.fx.GraphModule) -> set[str]:
    """The names of the nodes that an output depends on."""
    found: set[str] = set()
    for node in reversed(module.graph.nodes):
        if node.op == "output" or node.name in found:
            found.update(parent.name for parent in node.all_input_nodes)
    return found


def _returned(module: torch.fx.GraphModule) -> list[torch.fx.Node]:
    found: list[torch.fx.Node] = next(node for node in module.graph.nodes if node.op == "output").all_input_nodes
    return found

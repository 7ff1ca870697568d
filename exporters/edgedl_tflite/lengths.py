"""Which line of the user's Python computes with the length of a dynamic axis."""

from __future__ import annotations

import torch

from edgedl.exporter import Program
from edgedl.source_lines import user_line, user_line_of
from edgedl.tracing import trace
from edgedl_tflite.quiet import quiet
from edgedl_tflite.recurrent import marked

_SHAPING = ("view", "reshape", "_unsafe_view", "expand", "flatten", "unflatten", "repeat", "sym_size")
"""operators whose length operands TFLite can compute"""


def line_of_length(program: Program) -> str | None:
    """`net.py:12`: the first operator that takes a length as a number, other than to shape a tensor; None if there is none."""
    try:
        with quiet():
            nodes = trace(marked(program.module), program).graph.nodes
    except Exception as error:  # torch itself cannot follow the axis: its own error knows the line
        return user_line_of(error)
    found = (user_line(node.meta.get("stack_trace")) for node in nodes if _takes_length(node))
    return next((line for line in found if line), None)


def _takes_length(node: torch.fx.Node) -> bool:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    shaping = node.target.overloadpacket.__name__ in _SHAPING
    numbers = (torch.SymInt, torch.SymFloat)
    return not shaping and any(isinstance(given.meta.get("val"), numbers) for given in node.all_input_nodes)

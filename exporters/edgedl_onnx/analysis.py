"""Which nodes of a torch program ONNX has no translation of, without translating it."""

from __future__ import annotations

import torch
from torch.onnx._internal.exporter import _fx_passes, _registration

# What edgedl emits itself is translated by its name, not through the registry.
_SYMBOLIC = ("onnx_symbolic", "onnx::")


def unsupported(exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """The nodes that are left without a translation after torch's own decompositions."""
    registry = _registration.ONNXRegistry.from_torchlib()
    decomposed = _fx_passes.decompose_with_registry(exported, registry)
    return [node for node in decomposed.graph.nodes if _is_operator(node) and not registry.is_registered(node.target)]


def _is_operator(node: torch.fx.Node) -> bool:
    overload = node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
    return overload and not str(node.target).startswith(_SYMBOLIC)

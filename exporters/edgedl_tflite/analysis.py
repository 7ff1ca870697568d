"""Which nodes of a torch program litert-torch has no lowering of, without lowering it."""

from __future__ import annotations

import torch

from edgedl_tflite.quiet import quiet


def unsupported(exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """The nodes that are left without a lowering after litert-torch's decompositions."""
    with quiet():
        from litert_torch import fx_infra
        from litert_torch.backend import lowerings

        decomposed = exported
        for table in (fx_infra.decomp.pre_convert_decomp(), fx_infra.decomp.pre_lower_decomp()):
            decomposed = fx_infra.safe_run_decompositions(decomposed, table, can_skip=False)
    return [node for node in decomposed.graph.nodes if _is_operator(node) and lowerings.lookup(node.target) is None]


def _is_operator(node: torch.fx.Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)

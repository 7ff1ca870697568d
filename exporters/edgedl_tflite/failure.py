"""Why a conversion failed, in one sentence: the operator and the user's line."""

from __future__ import annotations

import re
from typing import Any

import torch

from edgedl import tracing
from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.source_lines import user_line, user_line_of
from edgedl_tflite.quiet import quiet

_NOT_LOWERED = "Lowering not found: "
_EFFECTS = "input tokens"
_EFFECT = "with_effects"
_WAY_OUT = "replace it in the model, or export to ONNX"


def explain(program: Program, error: Exception, chatter: str) -> Unsupported:
    """The Unsupported to raise for what torch.export or litert-torch raised; the converter's own words end it."""
    node = _effect_node(program) if _EFFECTS in str(error) else _failing_node(error)
    if node is not None:
        return Unsupported(_about_node(node, error))
    line = user_line_of(error)
    where = f" at {line}" if line else ""
    return Unsupported(f"{program.name} cannot be converted to TFLite{where}: {_reason(error, chatter)}")


def _about_node(node: torch.fx.Node, error: Exception) -> str:
    line = user_line(node.meta.get("stack_trace"))
    subject = f"the operator {_target(node)}{f' at {line}' if line else ''}"
    if _NOT_LOWERED in str(error) or _EFFECTS in str(error):
        return f"{subject} has no TFLite counterpart: {_WAY_OUT}"
    return f"{subject} cannot be converted to TFLite ({_first_line(error)}): {_WAY_OUT}"


def _target(node: torch.fx.Node) -> str:
    """`aten._linalg_svd`, without the overload."""
    name = str(node.args[1] if str(node.target) == _EFFECT else node.target)
    return name.rpartition(".")[0] if name.count(".") > 1 else name


def _failing_node(error: BaseException) -> torch.fx.Node | None:
    """The graph node that the converter was at: a local variable of the innermost frame that has one."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if (
            "torch/fx/interpreter" in trace.tb_frame.f_code.co_filename
            or "litert_torch" in trace.tb_frame.f_code.co_filename
        ):
            found = _node_of(trace.tb_frame.f_locals) or found
        trace = trace.tb_next
    return found


def _effect_node(program: Program) -> torch.fx.Node | None:
    """The operator that gives no value but checks one at run time, as torch.linalg.inv does: TFLite has none."""
    arguments = tuple(torch.from_numpy(array) for array in program.inputs.values())
    with quiet():
        nodes = tracing.export(program.module, arguments).run_decompositions().graph.nodes
    return next((node for node in nodes if str(node.target) == _EFFECT), None)


def _node_of(variables: dict[str, Any]) -> torch.fx.Node | None:
    nodes = [variables.get(name) for name in ("node", "n")]
    return next((node for node in nodes if isinstance(node, torch.fx.Node) and node.op == "call_function"), None)


def _reason(error: Exception, chatter: str) -> str:
    if "data-dependent" in str(error):
        return "its control flow or its shapes depend on the values of a tensor; use torch.where or torch.cond, or a fixed size"
    legalize = re.search(r"failed to legalize operation '([\w.]+)'", f"{error}\n{chatter}")
    if legalize:
        return f"the operator {legalize[1]} has no TFLite counterpart; {_WAY_OUT}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    cause = tracing.innermost(error)
    return tracing.first_line(str(cause).strip() or type(cause).__name__).rstrip(".")

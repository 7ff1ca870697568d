"""Why a conversion failed, in one sentence: the operator and the user's line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from edgedl import tracing
from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.source_lines import user_line, user_line_of
from edgedl_tflite.locations import WideIntegerError
from edgedl_tflite.quiet import quiet

_NOT_LOWERED = "Lowering not found: "
_EFFECTS = "input tokens"
_EFFECT = "with_effects"
_WAY_OUT = "replace it in the model, or export to ONNX"


def explain(
    program: Program, error: Exception, chatter: str, locate: Callable[[], torch.fx.Node | None]
) -> Unsupported:
    """The Unsupported to raise for what torch.export or litert-torch raised; the converter's own words end it.

    locate: finds the node where the converter's words alone tell of an operator; it converts once more.
    """
    node = _effect_node(program) if _EFFECTS in str(error) else _failing_node(error)
    if node is not None:
        return Unsupported(_about_node(node, error))
    if missing := _missing_operator(error, chatter):
        return without_counterpart(program, missing, locate())
    if "converter passes" in str(error) and (node := locate()) is not None:
        return Unsupported(_about_node(node, error))
    line = user_line_of(error)
    where = f" at {line}" if line else ""
    return Unsupported(f"{program.name} cannot be converted to TFLite{where}: {_reason(error)}")


def without_counterpart(program: Program, operator: str, node: torch.fx.Node | None) -> Unsupported:
    """The Unsupported for an operator of the converter's that no kernel computes. node: what it was made from."""
    if node is None:
        return Unsupported(
            f"{program.name} cannot be converted to TFLite: the operator {operator} has no TFLite counterpart; {_WAY_OUT}"
        )
    return Unsupported(f"{_subject(node)} has no TFLite counterpart (it becomes {operator}): {_WAY_OUT}")


def _subject(node: torch.fx.Node) -> str:
    line = user_line(node.meta.get("stack_trace"))
    return f"the operator {_target(node)}{f' at {line}' if line else ''}"


def _about_node(node: torch.fx.Node, error: Exception) -> str:
    if "complex<" in str(error):
        return f"{_subject(_first_complex(node))} gives complex numbers, which most operators of TFLite do not take: {_WAY_OUT}"
    subject = _subject(node)
    if _NOT_LOWERED in str(error) or _EFFECTS in str(error):
        return f"{subject} has no TFLite counterpart: {_WAY_OUT}"
    if isinstance(error, WideIntegerError):
        return (
            f"{subject} cannot be converted to TFLite: {_first_line(error)}; use smaller constants, or export to ONNX"
        )
    return f"{subject} cannot be converted to TFLite ({_first_line(error)}): {_WAY_OUT}"


def _first_complex(node: torch.fx.Node) -> torch.fx.Node:
    """The first operator of the node's graph that gives complex numbers; the node itself where none is noted."""
    values = ((other, other.meta.get("val")) for other in node.graph.nodes if other.op == "call_function")
    return next((n for n, value in values if isinstance(value, torch.Tensor) and value.is_complex()), node)


def _target(node: torch.fx.Node) -> str:
    """`aten.cumprod`, without the overload; `torch.linalg.inv`, as users write it."""
    effect = str(node.target) == _EFFECT
    name = str(node.args[1] if effect else node.target)
    if "_linalg_check_errors" in name:
        return f"torch.{str(node.args[3 if effect else 1]).removeprefix('torch.')}"
    if linalg := re.match(r"aten\._?linalg_(\w+?)(?:_ex)?\.", name):
        return f"torch.linalg.{linalg[1]}"
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


def _reason(error: Exception) -> str:
    if "data-dependent" in str(error):
        return "its control flow or its shapes depend on the values of a tensor; use torch.where or torch.cond, or a fixed size"
    return _first_line(error)


def _missing_operator(error: Exception, chatter: str) -> str | None:
    """`tfl.equal`: the operator that the converter could not write."""
    text = f"{error}\n{chatter}"
    found = re.search(r"failed to legalize operation '([\w.]+)'", text) or re.search(r"Details:\s*([\w.]+)\(", text)
    return found[1] if found else None


def _first_line(error: Exception) -> str:
    cause = tracing.innermost(error)
    text = str(cause).rpartition(": error: ")[2].strip()  # the place in front of it is an operator's own
    return tracing.first_line(text or type(cause).__name__).rstrip(".")

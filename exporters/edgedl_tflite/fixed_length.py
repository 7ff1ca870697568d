"""Whether a file is right at fixed lengths: what is wrong there is no fault of a dynamic axis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.spec import Array
from edgedl_tflite import failure, flatbuffer, loops, settle
from edgedl_tflite.convert import located_model
from edgedl_tflite.locations import Nodes, node_in, output_node
from edgedl_tflite.quiet import quiet


def refuse_missing_kernels(program: Program, model: Any, inputs: Mapping[str, Array]) -> None:
    """Unsupported, with the user's line, where the engine has no kernel for an operator of the file."""
    if any(flatbuffer.operator_name(model, operator).startswith("STABLEHLO_") for operator in _operators(model)):
        _refuse_missing_kernels(program, settle.problem_at(program, flatbuffer.serialize(model), inputs), inputs)


def refuse_wrong(program: Program, model: Any, inputs: Mapping[str, Array]) -> None:
    """Unsupported where the file, converted at the shapes of `inputs`, fails or differs from the model there."""
    loops.expand(model)
    problem = settle.problem_at(program, flatbuffer.serialize(model), inputs)
    if problem is None:
        return
    _refuse_missing_kernels(program, problem, inputs)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
    raise Unsupported(
        f"{program.name} is wrong in TFLite at a fixed length too ({shapes}): {problem}; "
        "export it without --dynamic to see the first tensor that diverges, or export to ONNX"
    )


def _operators(model: Any) -> list[Any]:
    return list(model.subgraphs[0].operators or [])


def _refuse_missing_kernels(program: Program, problem: str | None, inputs: Mapping[str, Array]) -> None:
    missing = re.search(r"builtin opcode '(\w+)'", problem or "")
    if not missing:
        return
    with quiet():
        model, nodes = located_model(program, inputs)
    raise failure.without_counterpart(program, missing[1], _source(model, nodes, missing[1]))


def _source(model: Any, nodes: Nodes, name: str) -> torch.fx.Node | None:
    """The node that the first operator of a name was made from; outputs of the file have names of their own."""
    graph = model.subgraphs[0]
    operator = next((o for o in _operators(model) if flatbuffer.operator_name(model, o) == name), None)
    outputs = flatbuffer.numbers(operator.outputs) if operator else []
    named = node_in(" ".join(flatbuffer.text(graph.tensors[index].name) for index in outputs), nodes)
    results = [entry.tensorIndex for entry in model.signatureDefs[0].outputs]
    places = [results.index(index) for index in outputs if index in results]
    return named or (output_node(nodes, places[0] - len(results)) if places else None)

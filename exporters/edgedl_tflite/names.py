"""Inputs and outputs under the user's names and in the user's order, in the subgraph and in the signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer

SIGNATURE = "serving_default"


def apply(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name the tensors of the model's first signature, which is in the program's order; edits `model`.

    An output that is an input, a constant or another output gets a tensor of its own through a copying operator.
    """
    graph = model.subgraphs[0]
    sources = [entry.tensorIndex for entry in model.signatureDefs[0].inputs]
    results = _own_tensors(model, [entry.tensorIndex for entry in model.signatureDefs[0].outputs])
    graph.inputs, graph.outputs = np.array(sources, np.int32), np.array(results, np.int32)
    _rename(graph.tensors, dict(zip(sources + results, [*inputs, *outputs], strict=True)))
    model.signatureDefs = [
        _signature(dict(zip(inputs, sources, strict=True)), dict(zip(outputs, results, strict=True)))
    ]


def add_signature(model: Any) -> None:
    """A signature by the tensors' names for a model without one, as older converters wrote it; edits `model`."""
    if not model.signatureDefs:
        graph = model.subgraphs[0]
        sides = [flatbuffer.numbers(side) for side in (graph.inputs, graph.outputs)]
        named = [
            dict(zip(side_names, side, strict=True)) for side_names, side in zip(names_of(model), sides, strict=True)
        ]
        model.signatureDefs = [_signature(*named)]


def sort_signature(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Put the entries of the first signature in the order of the names; edits `model`."""
    signature = model.signatureDefs[0]
    signature.inputs = sorted(signature.inputs, key=lambda entry: inputs.index(flatbuffer.text(entry.name)))
    signature.outputs = sorted(signature.outputs, key=lambda entry: outputs.index(flatbuffer.text(entry.name)))


def names_of(model: Any) -> tuple[list[str], list[str]]:
    """The names that `apply` gave: (inputs, outputs) in the subgraph's order, from the signature where there is one."""
    graph = model.subgraphs[0]
    signature = model.signatureDefs[0] if model.signatureDefs else None
    named_inputs = {e.tensorIndex: flatbuffer.text(e.name) for e in signature.inputs} if signature else {}
    named_outputs = {e.tensorIndex: flatbuffer.text(e.name) for e in signature.outputs} if signature else {}
    return (
        [named_inputs.get(int(i), flatbuffer.text(graph.tensors[i].name)) for i in flatbuffer.numbers(graph.inputs)],
        [named_outputs.get(int(i), flatbuffer.text(graph.tensors[i].name)) for i in flatbuffer.numbers(graph.outputs)],
    )


def _own_tensors(model: Any, results: list[int]) -> list[int]:
    taken = set(flatbuffer.numbers(model.subgraphs[0].inputs))
    own = []
    for index in results:
        is_constant = flatbuffer.constant(model, model.subgraphs[0].tensors[index]) is not None
        own.append(_copy(model, index) if index in taken or is_constant else index)
        taken.add(own[-1])
    return own


def _copy(model: Any, index: int) -> int:
    """Index of a copy: a SLICE of everything, which keeps any shape; a RESHAPE for a scalar, which has no slices."""
    graph, fresh = model.subgraphs[0], flatbuffer.unused_names(model)
    tensor = graph.tensors[index]
    shape = flatbuffer.shape_of(tensor)
    copy = flatbuffer.add_tensor(model, next(fresh), shape, tensor.type)
    graph.tensors[copy].shapeSignature, graph.tensors[copy].quantization = tensor.shapeSignature, tensor.quantization
    vectors = [np.zeros(len(shape), np.int32), np.full(len(shape), -1, np.int32)] if shape else [np.zeros(0, np.int32)]
    operands = [flatbuffer.add_constant(model, next(fresh), vector) for vector in vectors]
    code = schema.BuiltinOperator.SLICE if shape else schema.BuiltinOperator.RESHAPE
    options = schema.SliceOptionsT() if shape else None
    graph.operators = graph.operators or []
    graph.operators.append(flatbuffer.make_operator(model, code, [index, *operands], [copy], options))
    return copy


def _rename(tensors: list[Any], names: dict[int, str]) -> None:
    """Names are unique: a tensor that has a wanted name already gets another one."""
    wanted = set(names.values())
    for index, tensor in enumerate(tensors):
        if index not in names and (name := flatbuffer.text(tensor.name)) in wanted:
            tensor.name = f"{name}/inner_{index}"
    for index, name in names.items():
        tensors[index].name = name


def _signature(inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_entry(name, index) for name, index in inputs.items()]
    signature.outputs = [_entry(name, index) for name, index in outputs.items()]
    return signature


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry

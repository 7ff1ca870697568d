"""Float inputs and outputs for a file whose converter made them integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer


def to_float(model: Any) -> None:
    """Put a QUANTIZE behind every int8 input and a DEQUANTIZE before every int8 output; edits `model`."""
    graph = model.subgraphs[0]
    before: list[Any] = []
    after: list[Any] = []
    for entry in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        if graph.tensors[entry.tensorIndex].type != schema.TensorType.INT8:
            continue
        inner, entering = int(entry.tensorIndex), entry in model.signatureDefs[0].inputs
        entry.tensorIndex = outer = _float_twin(model, inner)
        code = schema.BuiltinOperator.QUANTIZE if entering else schema.BuiltinOperator.DEQUANTIZE
        ends = ([outer], [inner]) if entering else ([inner], [outer])
        (before if entering else after).append(flatbuffer.make_operator(model, code, *ends))
    graph.operators = [*before, *graph.operators, *after]
    graph.inputs = np.array([e.tensorIndex for e in model.signatureDefs[0].inputs], np.int32)
    graph.outputs = np.array([e.tensorIndex for e in model.signatureDefs[0].outputs], np.int32)


def _float_twin(model: Any, index: int) -> int:
    """A float tensor that takes the name of an integer one."""
    tensor = model.subgraphs[0].tensors[index]
    name = flatbuffer.text(tensor.name)
    twin = flatbuffer.add_tensor(model, name, flatbuffer.shape_of(tensor), schema.TensorType.FLOAT32)
    model.subgraphs[0].tensors[twin].shapeSignature = tensor.shapeSignature
    tensor.name = f"{name}/inner_{index}"
    return twin

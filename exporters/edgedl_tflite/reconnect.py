"""Integer operators get integer inputs.

Where an output of the model is also the input of another operator, ai-edge-quantizer hands that operator the dequantized
output, and the engine refuses the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer

_CODE = schema.BuiltinOperator
_INTEGERS = (schema.TensorType.INT8, schema.TensorType.INT16)


def reconnect(model: Any) -> None:
    """Give every operator of integer output the integers from which its float input was dequantized; edits `model`."""
    for graph in model.subgraphs:
        sources = _dequantized(model, graph)
        for operator in graph.operators or []:
            if flatbuffer.code_of(model, operator) != _CODE.QUANTIZE and _gives_integers(graph, operator):
                operator.inputs = np.array([sources.get(i, i) for i in flatbuffer.numbers(operator.inputs)], np.int32)


def _dequantized(model: Any, graph: Any) -> dict[int, int]:
    """float tensor -> the integer tensor that it was dequantized from."""
    return {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in graph.operators or []
        if flatbuffer.code_of(model, operator) == _CODE.DEQUANTIZE
        and graph.tensors[operator.inputs[0]].type in _INTEGERS
    }


def _gives_integers(graph: Any, operator: Any) -> bool:
    return any(graph.tensors[index].type in _INTEGERS for index in flatbuffer.numbers(operator.outputs))

"""What a .tflite file has to compute, layer by layer; of a file with several signatures, the first."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import InvalidArtifact
from edgedl.workload import Operation, Workload, convolution_kind, matrix_kind
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import operator_macs, shape

_CODE = schema.BuiltinOperator
_NONLINEAR = {_CODE.LOGISTIC, _CODE.HARD_SWISH, _CODE.TANH, _CODE.GELU, _CODE.ELU}
_RECURRENT = {
    _CODE.LSTM, _CODE.UNIDIRECTIONAL_SEQUENCE_LSTM, _CODE.BIDIRECTIONAL_SEQUENCE_LSTM, _CODE.RNN, _CODE.SVDF, _CODE.WHILE,
    _CODE.UNIDIRECTIONAL_SEQUENCE_RNN, _CODE.BIDIRECTIONAL_SEQUENCE_RNN,
}  # fmt: skip
_OPAQUE = {
    _CODE.CONV_3D, _CODE.CONV_3D_TRANSPOSE, _CODE.TRANSPOSE_CONV, _CODE.CUSTOM, _CODE.IF, _CODE.CALL, _CODE.STABLEHLO_COMPOSITE,
    _CODE.STABLEHLO_DOT_GENERAL, _CODE.STABLEHLO_CONVOLUTION,
}  # fmt: skip


def workload(path: Path) -> Workload:
    """InvalidArtifact if the file is no TFLite model."""
    model = read_checked(path)
    graph = model.subgraphs[0]
    try:
        layers = [layer for operator in graph.operators or [] if (layer := _layer(model, graph, operator))]
        return Workload(tuple(layers), _scheme(model, graph))
    except Exception as error:  # the file is consistent in its links and still impossible in its contents
        raise InvalidArtifact(f"{path} is a broken TFLite model ({error}): export it again") from error


def _layer(model: Any, graph: Any, operator: Any) -> Operation | None:
    code, name = flatbuffer.code_of(model, operator), flatbuffer.operator_name(model, operator)
    if code in _NONLINEAR:
        return Operation("nonlinear", name, 0, prod(shape(graph, operator.outputs[0])))
    if code in _RECURRENT or code in _OPAQUE:
        return Operation("recurrent" if code in _RECURRENT else "unknown", name, 0, 0)
    kind = _kind(model, graph, operator, code)
    return (
        Operation(kind, name, operator_macs(model, graph, operator) or 0, _elements(graph, operator)) if kind else None
    )


def _kind(model: Any, graph: Any, operator: Any, code: int) -> str | None:
    output = shape(graph, operator.outputs[0])
    if code in (_CODE.CONV_2D, _CODE.DEPTHWISE_CONV_2D):
        filters, options = shape(graph, operator.inputs[1]), operator.builtinOptions
        channels = shape(graph, operator.inputs[0])[3]
        groups = channels if code == _CODE.DEPTHWISE_CONV_2D else channels // filters[3]
        return convolution_kind(filters[1:3], (options.strideH, options.strideW), groups, channels, prod(output[1:3]))
    if code == _CODE.FULLY_CONNECTED:
        return matrix_kind(True, prod(output[:-1]))
    return "attention" if code == _CODE.BATCH_MATMUL else None


def _elements(graph: Any, operator: Any) -> int:
    return prod(shape(graph, operator.inputs[0])) + prod(shape(graph, operator.outputs[0]))


def _scheme(model: Any, graph: Any) -> str:
    """By the first operator with weights: the dtypes of its input and of its filter."""
    weighted = (_CODE.CONV_2D, _CODE.DEPTHWISE_CONV_2D, _CODE.FULLY_CONNECTED)
    for operator in graph.operators or []:
        if flatbuffer.code_of(model, operator) in weighted:
            read, weights = (flatbuffer.TYPE_NAMES[graph.tensors[i].type] for i in operator.inputs[:2])
            if (read, weights) == ("float32", "float32"):
                return "w8" if _dequantized(model, graph, operator.inputs[1]) else "fp32"
            return "w8a8-dynamic" if read == "float32" else f"w8a{16 if read == 'int16' else 8}"
    return "fp32"


def _dequantized(model: Any, graph: Any, tensor: int) -> bool:
    return any(
        tensor in operator.outputs and flatbuffer.code_of(model, operator) == _CODE.DEQUANTIZE
        for operator in graph.operators
    )

"""Integer inputs and outputs for a statically quantized file, as accelerators and microcontrollers take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import Unsupported
from edgedl_tflite import flatbuffer

_FLOAT = "float32"
_UNSIGNED = 128
"""int8 with zero point z and uint8 with z + 128 are the same numbers."""


def check(name: str, dtype: str, signatures: int) -> None:
    """Raise Unsupported where each signature would have a scale of its own for one input."""
    if dtype != _FLOAT and signatures > 1:
        raise Unsupported(
            f"{name} has {signatures} signatures, and --io {dtype} takes one: export it with fixed lengths, or leave out --io"
        )


def store(name: str, model: Any, dtype: str) -> None:
    """Store every float input and output as `dtype`, int8 or uint8, with its quantization; edits `model`.

    Inputs and outputs that are no floats stay as they are, and so does everything for float32.
    Raises Unsupported for an input or output that the model reads or computes in float.
    """
    if dtype == _FLOAT:
        return
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for entries, code in (
        (signature.inputs, schema.BuiltinOperator.QUANTIZE),
        (signature.outputs, schema.BuiltinOperator.DEQUANTIZE),
    ):
        for entry in entries:
            if graph.tensors[entry.tensorIndex].type == schema.TensorType.FLOAT32:
                operator = _converter(name, model, int(entry.tensorIndex), code, dtype)
                entry.tensorIndex = (_drop if dtype == "int8" else _unsign)(model, operator, code)
    graph.inputs = np.array([entry.tensorIndex for entry in signature.inputs], np.int32)
    graph.outputs = np.array([entry.tensorIndex for entry in signature.outputs], np.int32)


def _converter(name: str, model: Any, outer: int, code: int, dtype: str) -> Any:
    """Return the one operator between a float input or output and its int8 twin."""
    entering = code == schema.BuiltinOperator.QUANTIZE
    others = [op for op in model.subgraphs[0].operators if outer in flatbuffer.numbers(op.inputs)]
    makers = [op for op in model.subgraphs[0].operators if outer in flatbuffer.numbers(op.outputs)]
    users = [*makers, *others]
    if len(users) == 1 and flatbuffer.code_of(model, users[0]) == code:
        inner, _ = _ends(users[0], code)
        if model.subgraphs[0].tensors[inner].type == schema.TensorType.INT8 and not _is_border(model, inner):
            return users[0]
    kind, verb = ("input", "read") if entering else ("output", "used or made")
    used = ", ".join(sorted({flatbuffer.operator_name(model, op) for op in users})) or "no operator"
    title = flatbuffer.text(model.subgraphs[0].tensors[outer].name)
    raise Unsupported(f"the {kind} {title!r} of {name} is {verb} in float (by {used}), so that --io {dtype} "
                      "has no scale for it: leave out --io")  # fmt: skip


def _ends(operator: Any, code: int) -> tuple[int, int]:
    """Return the tensors on the inner and the outer side of an operator at the border."""
    source, target = flatbuffer.numbers(operator.inputs)[0], flatbuffer.numbers(operator.outputs)[0]
    return (target, source) if code == schema.BuiltinOperator.QUANTIZE else (source, target)


def _is_border(model: Any, index: int) -> bool:
    signature = model.signatureDefs[0]
    return any(entry.tensorIndex == index for entry in (*signature.inputs, *signature.outputs))


def _drop(model: Any, operator: Any, code: int) -> int:
    """Take the operator out; the int8 tensor gets the name and the axes of the float one."""
    graph, (inner, outer) = model.subgraphs[0], _ends(operator, code)
    stored, real = graph.tensors[inner], graph.tensors[outer]
    stored.name, real.name = real.name, f"{flatbuffer.text(real.name)}/float"
    stored.shapeSignature = real.shapeSignature
    graph.operators = [kept for kept in graph.operators if kept is not operator]
    return inner


def _unsign(model: Any, operator: Any, code: int) -> int:
    """Make the outer tensor uint8, and the operator a change of the zero point alone."""
    graph, (inner, outer) = model.subgraphs[0], _ends(operator, code)
    real, found = graph.tensors[outer], graph.tensors[inner].quantization
    real.type, real.quantization = schema.TensorType.UINT8, schema.QuantizationParametersT()
    real.quantization.scale = np.array(found.scale, np.float32)
    real.quantization.zeroPoint = np.array(found.zeroPoint, np.int64) + _UNSIGNED
    ends = flatbuffer.numbers(operator.inputs), flatbuffer.numbers(operator.outputs)
    quantize = flatbuffer.make_operator(model, schema.BuiltinOperator.QUANTIZE, *ends)
    graph.operators = [quantize if kept is operator else kept for kept in graph.operators]
    return outer

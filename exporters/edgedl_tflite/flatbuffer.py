"""Reading and writing TFLite flatbuffers as objects of the schema (ModelT), and small edits on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.spec import Array

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""bytes; the schema's `force_align` of constant data, which its generated Python code does not apply."""

DTYPES: dict[int, str] = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.FLOAT64: "float64",
    schema.TensorType.INT64: "int64",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.BOOL: "bool",
}
TYPE_NAMES: dict[int, str] = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}
_VERSIONS = {schema.BuiltinOperator.BROADCAST_TO: 2}
"""operator -> the lowest version that engines have, where that is not 1"""
_LAST_BYTE_CODE = 127
"""PLACEHOLDER_FOR_GREATER_OP_CODES, which the schema asks for in the byte field where a code does not fit"""
_OPERATORS: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data is written 16-byte aligned, so that SIMD and microcontroller kernels can read it in place."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the name that the generated code calls
        data = None if self.data is None else _aligned_vector(builder, bytes(self.data))
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _aligned_vector(builder: Any, data: bytes) -> Any:
    builder.StartVector(1, len(data), ALIGNMENT)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.EndVector()


def parse(content: bytes) -> Any:
    """The ModelT of trusted bytes, with all data in its buffers; see edgedl_tflite.check for bytes of unknown origin.

    Large files keep data behind the flatbuffer and only its offset and size inside.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers or []:
        if buffer.offset > 1:
            buffer.data, buffer.offset, buffer.size = _outside(content, buffer.offset, buffer.size), 0, 0
    for operator in (operator for graph in model.subgraphs or [] for operator in graph.operators or []):
        if offset := operator.largeCustomOptionsOffset:
            operator.customOptions = _outside(content, offset, operator.largeCustomOptionsSize)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return model


def _outside(content: bytes, offset: int, size: int) -> Array:
    if offset + size > len(content):
        raise ValueError("data beyond the end of the file")
    return np.frombuffer(content, np.uint8, size, offset)


def serialize(model: Any) -> bytes:
    """The bytes of a ModelT, constants aligned, and each operator's code in both of its fields, for readers of either."""
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    for entry in model.operatorCodes:
        entry.builtinCode = max(entry.builtinCode, entry.deprecatedBuiltinCode)
        entry.deprecatedBuiltinCode = min(entry.builtinCode, _LAST_BYTE_CODE)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def code_of(model: Any, operator: Any) -> int:
    """The builtin code; files before 2020 keep it in a byte field of its own."""
    entry = model.operatorCodes[operator.opcodeIndex]
    return int(max(entry.builtinCode, entry.deprecatedBuiltinCode))


def operator_name(model: Any, operator: Any) -> str:
    """`CONV_2D`, or the custom code of a custom operator."""
    code = code_of(model, operator)
    if code == schema.BuiltinOperator.CUSTOM:
        return text(model.operatorCodes[operator.opcodeIndex].customCode)
    return _OPERATORS.get(code, f"BUILTIN_{code}")


def constant(model: Any, tensor: Any) -> Array | None:
    """The data of a constant tensor in its dtype, flat, or None if the tensor is computed at run time."""
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type not in DTYPES:
        return None
    return np.frombuffer(bytes(data), DTYPES[tensor.type])


def shape_of(tensor: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in tensor.shape) if tensor.shape is not None else ()


def numbers(vector: Sequence[int] | None) -> list[int]:
    """A vector field as plain integers; the schema gives None for an empty one."""
    return [] if vector is None else [int(n) for n in vector]


def add_constant(model: Any, name: str, values: Array) -> int:
    """Index of a new constant tensor of the main subgraph."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    index = add_tensor(model, name, values.shape, _type_of(values.dtype.name))
    model.subgraphs[0].tensors[index].buffer = len(model.buffers) - 1
    return index


def add_tensor(model: Any, name: str, shape: Sequence[int], type_code: int) -> int:
    """Index of a new tensor of the main subgraph, computed at run time."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, np.array(shape, np.int32), type_code, 0
    tensors = model.subgraphs[0].tensors
    tensors.append(tensor)
    return len(tensors) - 1


def make_operator(model: Any, code: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Any:
    """A new operator, not yet placed; `options` is an options object of the schema."""
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode_index(model, code)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    if options is not None:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
    return operator


def unused_names(model: Any) -> Iterator[str]:
    """Names `edgedl/0`, `edgedl/1`, ... that no tensor has."""
    number = 0
    while True:
        name = f"edgedl/{number}"
        if not any(text(tensor.name) == name for tensor in model.subgraphs[0].tensors):
            yield name
        number += 1


def _opcode_index(model: Any, code: int) -> int:
    for index, entry in enumerate(model.operatorCodes):
        if max(entry.builtinCode, entry.deprecatedBuiltinCode) == code:
            return index
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = code, _VERSIONS.get(code, 1)
    model.operatorCodes.append(entry)
    return len(model.operatorCodes) - 1


def _type_of(dtype: str) -> int:
    return next(code for code, name in DTYPES.items() if name == dtype)

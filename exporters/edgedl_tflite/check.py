"""Bytes of unknown origin to a ModelT, or InvalidArtifact.

The generated parser trusts every offset and count in the file. Nested vectors that overlap could make it build far more
objects than the file has bytes; so the counts are added up first, reading nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgedl.errors import InvalidArtifact
from edgedl_tflite import flatbuffer

_HEADER = 8


def read_checked(path: Path) -> Any:
    """The ModelT of a file; InvalidArtifact if it is missing, truncated, altered or not TFLite."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidArtifact(f"cannot read {path}: {error.strerror}") from error
    return parse_checked(content, str(path))


def parse_checked(content: bytes, source: str) -> Any:
    """The ModelT of the bytes; InvalidArtifact, naming `source`, if they are not a whole and consistent model."""
    if len(content) < _HEADER or content[4:8] != flatbuffer.IDENTIFIER:
        raise InvalidArtifact(f"{source} is not a TFLite model (no TFL3 identifier): export it again")
    try:
        _check_counts(schema.Model.GetRootAs(content, 0), len(content))
        model = flatbuffer.parse(content)
        _check_links(model)
    except InvalidArtifact:
        raise
    except Exception as error:
        raise InvalidArtifact(
            f"{source} is a broken TFLite model (cut short, or its links lead nowhere): export it again"
        ) from error
    return model


def _check_counts(root: Any, size: int) -> None:
    """ValueError if the vectors together have more elements than the file has bytes."""
    budget = size
    for count in _counts(root):
        budget -= count
        if budget < 0:
            raise ValueError("more elements than bytes")


def _counts(root: Any) -> Iterable[int]:
    yield root.SubgraphsLength() * 16
    yield root.OperatorCodesLength() + root.BuffersLength() + root.SignatureDefsLength() + root.MetadataLength()
    for index in range(root.BuffersLength()):
        yield root.Buffers(index).DataLength()
    for index in range(root.SubgraphsLength()):
        yield from _graph_counts(root.Subgraphs(index))
    for index in range(root.SignatureDefsLength()):
        signature = root.SignatureDefs(index)
        yield signature.InputsLength() + signature.OutputsLength()


def _graph_counts(graph: Any) -> Iterable[int]:
    yield graph.TensorsLength() + graph.OperatorsLength() + graph.InputsLength() + graph.OutputsLength()
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        yield tensor.ShapeLength() + tensor.ShapeSignatureLength()
        if (quantization := tensor.Quantization()) is not None:
            yield sum(getattr(quantization, f"{part}Length")() for part in ("Min", "Max", "Scale", "ZeroPoint"))
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        yield operator.InputsLength() + operator.OutputsLength() + operator.CustomOptionsLength()


def _check_links(model: Any) -> None:
    """IndexError or ValueError if an index leads out of its list, or if there is no graph."""
    if model.version != 3 or not model.subgraphs:
        raise ValueError("no graph")
    for graph in model.subgraphs:
        tensors = graph.tensors or []
        for tensor in tensors:
            _check_tensor(tensor, len(model.buffers))
        for operator in graph.operators or []:
            _check_indices([operator.opcodeIndex], len(model.operatorCodes))
            _check_indices(flatbuffer.numbers(operator.outputs), len(tensors))
            _check_indices([i for i in flatbuffer.numbers(operator.inputs) if i != -1], len(tensors))
        _check_indices(flatbuffer.numbers(graph.inputs) + flatbuffer.numbers(graph.outputs), len(tensors))
    for signature in model.signatureDefs or []:
        _check_indices([signature.subgraphIndex], len(model.subgraphs))
        entries = [*(signature.inputs or []), *(signature.outputs or [])]
        _check_indices([e.tensorIndex for e in entries], len(model.subgraphs[signature.subgraphIndex].tensors))


def _check_tensor(tensor: Any, buffers: int) -> None:
    _check_indices([tensor.buffer], buffers)
    shape, signature = flatbuffer.shape_of(tensor), flatbuffer.numbers(tensor.shapeSignature)
    if any(n < -1 for n in (*shape, *signature)) or (signature and len(signature) != len(shape)):
        raise ValueError("impossible shape")
    if tensor.type not in flatbuffer.TYPE_NAMES:
        raise ValueError("unknown tensor type")


def _check_indices(indices: Iterable[int], length: int) -> None:
    if any(not 0 <= index < length for index in indices):
        raise IndexError("index out of range")

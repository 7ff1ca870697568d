"""Several fixed shapes in one file: a signature and a subgraph for each, with every constant held once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.exporter import Program
from edgedl.spec import Array, Feeds, TensorSpec, resize
from edgedl_tflite import flatbuffer, loops
from edgedl_tflite.convert import convert

_SUBGRAPH_FIELDS = (
    "condSubgraphIndex", "bodySubgraphIndex", "thenSubgraphIndex", "elseSubgraphIndex", "subgraph", "initSubgraphIndex",
    "decompositionSubgraphIndex",
)  # fmt: skip


def convert_signatures(program: Program) -> Any:
    """The ModelT with one signature for each of `program.signatures`, called as `time_16`."""
    models = []
    for lengths in program.signatures:
        model = convert(program, resize(program.inputs, program.dynamic_axes, lengths))
        loops.expand(model)
        model.signatureDefs[0].signatureKey = "_".join(f"{name}_{length}" for name, length in lengths.items())
        models.append(model)
    return merge(models)


def merge(models: Sequence[Any]) -> Any:
    """One ModelT with the subgraphs and signatures of all; equal constants share a buffer. The models are used up."""
    merged, *others = models
    pool = _Pool(merged)
    for model in others:
        start = len(merged.subgraphs)
        codes = [pool.code(entry) for entry in model.operatorCodes]
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                tensor.buffer = pool.buffer(model.buffers[tensor.buffer])
            for operator in graph.operators or []:
                operator.opcodeIndex = codes[operator.opcodeIndex]
                _shift_subgraphs(operator, {number: start + number for number in range(len(model.subgraphs))})
        merged.subgraphs += model.subgraphs
        for signature in model.signatureDefs:
            signature.subgraphIndex += start
            merged.signatureDefs.append(signature)
    return merged


class _Pool:
    """The buffers and operator codes of a model that others are merged into."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.buffers: dict[bytes, int] = {
            bytes(b.data): n for n, b in reversed(list(enumerate(model.buffers))) if _has_data(b)
        }

    def buffer(self, buffer: Any) -> int:
        """Index of an equal buffer; buffer 0 is the empty one."""
        if not _has_data(buffer):
            return 0
        key = bytes(buffer.data)
        if key not in self.buffers:
            self.buffers[key] = len(self.model.buffers)
            self.model.buffers.append(buffer)
        return self.buffers[key]

    def code(self, entry: Any) -> int:
        for index, known in enumerate(self.model.operatorCodes):
            if _identity(known) == _identity(entry):
                return index
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1


def _has_data(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _identity(entry: Any) -> tuple[Any, ...]:
    return max(entry.builtinCode, entry.deprecatedBuiltinCode), flatbuffer.text(entry.customCode), entry.version


def split(model: Any) -> list[Any]:
    """A ModelT for each signature, with its subgraph first and only what that one reaches."""
    return [_part(model, signature) for signature in model.signatureDefs]


def _part(model: Any, signature: Any) -> Any:
    part = schema.ModelT()
    part.version, part.description, part.operatorCodes = (
        model.version,
        model.description,
        copy.deepcopy(model.operatorCodes),
    )
    reached = _reached(model, signature.subgraphIndex)
    part.subgraphs = [copy.deepcopy(model.subgraphs[number]) for number in reached]
    part.buffers = [schema.BufferT()]
    pool = _Pool(part)
    for graph in part.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = pool.buffer(model.buffers[tensor.buffer])
        for operator in graph.operators or []:
            _shift_subgraphs(operator, {old: new for new, old in enumerate(reached)})
    part.signatureDefs = [copy.deepcopy(signature)]
    part.signatureDefs[0].subgraphIndex = 0
    return part


def _reached(model: Any, start: int) -> list[int]:
    reached = [start]
    for number in reached:
        for operator in model.subgraphs[number].operators or []:
            reached += [index for index in _subgraphs_of(operator) if index not in reached]
    return reached


def _subgraphs_of(operator: Any) -> list[int]:
    return [index for field in _fields(operator) if (index := getattr(operator.builtinOptions, field)) >= 0]


def _fields(operator: Any) -> list[str]:
    return [field for field in _SUBGRAPH_FIELDS if hasattr(operator.builtinOptions, field)]


def _shift_subgraphs(operator: Any, moved: Mapping[int, int]) -> None:
    for field in _fields(operator):
        old = getattr(operator.builtinOptions, field)
        setattr(operator.builtinOptions, field, moved.get(old, old))


def fitted(feeds: Feeds, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """The feeds at the fixed lengths of one signature, all but the number of rows: cut, or repeated from the start."""
    result = dict(feeds)
    for spec in specs:
        for number, length in enumerate(spec.shape):
            if isinstance(length, int) and number:
                rows = np.arange(length) % result[spec.name].shape[number]
                result[spec.name] = np.ascontiguousarray(result[spec.name].take(rows, axis=number))
    return result

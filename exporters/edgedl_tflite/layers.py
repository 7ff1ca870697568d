"""The layers of a TFLite file that can be quantized each by itself, under names that survive the quantization."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

from edgedl.exporter import Layer
from edgedl.islands import Step, beside
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import operator_macs

QUANTIZABLE = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL", "EMBEDDING_LOOKUP")
_INNER = re.compile(r"/inner_[0-9]+$")
"""What `edgedl_tflite.names` adds to a tensor that had the name of an output."""


def layers(source: Path) -> tuple[Layer, ...]:
    """By the name of the tensor that each computes; InvalidArtifact if the file is no TFLite model."""
    model = read_checked(source)
    found: dict[str, Layer] = {}
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if flatbuffer.operator_name(model, operator) in QUANTIZABLE:
                layer = _layer(model, graph, operator)
                found.setdefault(layer.name, layer)
    return tuple(found.values())


def island(model: Any, kept: Collection[str]) -> list[str]:
    """The scopes of these layers, of the operators without weights that belong to them, and of operators of these types."""
    graph = model.subgraphs[0]
    steps = [_step(model, operator) for operator in graph.operators or []]
    of_type = [number for number, o in enumerate(graph.operators or []) if _is_of(model, o, kept)]
    return [scope(name) for name in (*kept, *(";".join(steps[n][2]) for n in (*beside(steps, kept), *of_type)))]


def _is_of(model: Any, operator: Any, types: Collection[str]) -> bool:
    """Whether an operator without weights is of one of the types."""
    kind = flatbuffer.operator_name(model, operator)
    return kind in types and kind not in QUANTIZABLE


def _step(model: Any, operator: Any) -> Step:
    tensors = model.subgraphs[0].tensors
    inputs, outputs = (
        [flatbuffer.text(tensors[index].name) for index in flatbuffer.numbers(indices) if index >= 0]
        for indices in (operator.inputs, operator.outputs)
    )
    is_layer = flatbuffer.operator_name(model, operator) in QUANTIZABLE
    return _INNER.sub("", outputs[0]) if is_layer else None, inputs, outputs


def _layer(model: Any, graph: Any, operator: Any) -> Layer:
    output = flatbuffer.text(graph.tensors[operator.outputs[0]].name)
    constants = [
        graph.tensors[n] for n in flatbuffer.numbers(operator.inputs) if n >= 0 and _is_stored(model, graph, n)
    ]
    kind, macs = flatbuffer.operator_name(model, operator), operator_macs(model, graph, operator)
    parameters = sum(prod(flatbuffer.shape_of(tensor)) for tensor in constants)
    return Layer(_INNER.sub("", output), kind, output, parameters, macs)


def _is_stored(model: Any, graph: Any, index: int) -> bool:
    """A constant, or what an operator widens from one."""
    maker = next((o for o in graph.operators if index in flatbuffer.numbers(o.outputs)), None)
    if maker is not None and flatbuffer.operator_name(model, maker) == "DEQUANTIZE":
        index = maker.inputs[0]
    data = model.buffers[graph.tensors[index].buffer].data
    return data is not None and len(data) > 0


def scope(name: str) -> str:
    """The regular expression by which ai-edge-quantizer finds the layer and no other."""
    return f"^{re.escape(name)};$"

"""How finely a file rounds its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedl_tflite import flatbuffer, names
from edgedl_tflite.check import read_checked
from edgedl_tflite.describe import scale_of


def output_steps(path: Path) -> dict[str, float]:
    """Output name -> the difference of neighbouring values, for outputs that are integers or are widened from them.

    InvalidArtifact if the file is no TFLite model.
    """
    model = read_checked(path)
    graph = model.subgraphs[0]
    found = {
        name: _step(model, graph, index)
        for name, index in zip(names.names_of(model)[1], flatbuffer.numbers(graph.outputs), strict=True)
    }
    return {name: step for name, step in found.items() if step}


def _step(model: Any, graph: Any, index: int) -> float | None:
    makers = [o for o in graph.operators or [] if index in flatbuffer.numbers(o.outputs)]
    if makers and flatbuffer.operator_name(model, makers[0]) == "DEQUANTIZE":
        index = flatbuffer.numbers(makers[0].inputs)[0]
    return scale_of(graph.tensors[index])

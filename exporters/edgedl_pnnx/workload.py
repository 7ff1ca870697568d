"""What an ncnn network has to compute, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from edgedl.errors import Unsupported
from edgedl.workload import Operation, Workload, convolution_kind, matrix_kind
from edgedl_pnnx import graph
from edgedl_pnnx.bundle import Bundle
from edgedl_pnnx.layers import UNKNOWN_COST, WITH_MACS
from edgedl_pnnx.values import as_written, values

Shapes = Mapping[str, tuple[int, ...]]
"""blob -> its lengths without the batch, channels first"""
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "Convolution1D", "ConvolutionDepthWise1D")
_NONLINEAR = ("Swish", "HardSwish", "Sigmoid", "HardSigmoid", "GELU", "TanH", "ELU", "Mish", "Erf", "LayerNorm")
_STRANGE = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "recurrent"),
    **dict.fromkeys(("MatMul", "SDPA", "MultiHeadAttention"), "attention"),
}


def workload(path: Path) -> Workload:
    """InvalidArtifact if it is no whole ncnn model; Unsupported where it does not run at its written shapes, dynamic axes as 1."""
    bundle = Bundle.read(path)
    layers = graph.read(bundle.param, bundle.weights, str(path))
    narrow = any(weights.values.dtype == np.int8 for layer in layers for weights in layer.weights)
    return Workload(tuple(operations(layers, _shapes(bundle, layers, path))), "w8a8" if narrow else "fp32")


def operations(layers: Iterable[graph.Layer], shapes: Shapes) -> Iterable[Operation]:
    """Those that cost time, in the order of computation."""
    for layer in layers:
        if layer.kind in _NONLINEAR:
            yield Operation("nonlinear", layer.kind, 0, math.prod(shapes[layer.outputs[0]]))
        elif layer.kind in _CONVOLUTIONS or layer.kind in ("InnerProduct", "Gemm"):
            yield _product(layer, shapes[layer.inputs[0]], shapes[layer.outputs[0]])
        elif layer.kind in (*WITH_MACS, *UNKNOWN_COST):
            yield Operation(_STRANGE.get(layer.kind, "unknown"), layer.kind, 0, 0)


def _product(layer: graph.Layer, given: tuple[int, ...], gives: tuple[int, ...]) -> Operation:
    elements = math.prod(given) + math.prod(gives)
    if layer.kind == "Gemm":
        return Operation(
            matrix_kind(True, math.prod(gives[:-1])), layer.kind, math.prod(gives) * layer.number(9), elements
        )
    if layer.kind == "InnerProduct":
        rows = math.prod(gives) // layer.number(0)
        return Operation(matrix_kind(True, rows), layer.kind, rows * layer.number(2), elements)
    positions = math.prod(gives[1:])
    return Operation(_convolution(layer, given[0], positions), layer.kind, positions * layer.number(6), elements)


def _convolution(layer: graph.Layer, channels: int, positions: int) -> str:
    """ncnn leaves out what is the same along both axes."""
    width, stride = layer.number(1), layer.number(3, 1)
    kernel, strides = (layer.number(11, width), width), (layer.number(13, stride), stride)
    flat = layer.kind.endswith("1D")
    return convolution_kind(kernel[flat:], strides[flat:], layer.number(7, 1), channels, positions)


def _shapes(bundle: Bundle, layers: Iterable[graph.Layer], path: Path) -> Shapes:
    blobs = [blob for layer in layers for blob in (*layer.inputs, layer.outputs[0])]
    try:
        return {blob: array.shape for blob, array in values(bundle, as_written(bundle), blobs)}
    except Exception as error:
        raise Unsupported(f"{path} does not run at its written shapes, dynamic axes as 1: {error}") from error

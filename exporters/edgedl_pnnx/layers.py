"""The layers of a `.ncnn` file, and what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgedl import ledger
from edgedl.errors import EngineFailed
from edgedl.exporter import Description
from edgedl.exporter import Layer as Named
from edgedl_pnnx import graph
from edgedl_pnnx.bundle import Bundle
from edgedl_pnnx.values import as_written, values

_DIMENSIONS = ("", "1D", "3D", "DepthWise", "DepthWise1D", "DepthWise3D")
_DECONVOLUTIONS = tuple(f"Deconvolution{kind}" for kind in _DIMENSIONS)
WITH_MACS = (
    *(f"Convolution{kind}" for kind in _DIMENSIONS), *_DECONVOLUTIONS, "InnerProduct", "Gemm", "LSTM", "GRU", "RNN",
)  # fmt: skip
"""Layers whose multiply-accumulates follow from their weights"""
UNKNOWN_COST = ("MatMul", "SDPA", "MultiHeadAttention", "DeformableConv2D", "Einsum")
"""Others that multiply"""


def layers(source: Path) -> tuple[Named, ...]:
    """Those with multiplications by weights, in the order of computation; errors as of `describe`."""
    bundle = Bundle.read(source)
    read = graph.read(bundle.param, bundle.weights, str(source))
    sizes = _sizes(bundle, read)
    return tuple(
        Named(layer.name, layer.kind, layer.outputs[0], _parameters(layer), _macs(layer, sizes))
        for layer in read
        if layer.kind in WITH_MACS
    )


def describe(path: Path) -> Description:
    """What is in the file. macs: at the written shapes, dynamic axes as 1; None where a layer's are not known.

    InvalidArtifact if the file is damaged; Unsupported for a layer whose weights are not known.
    """
    bundle = Bundle.read(path)
    read = graph.read(bundle.param, bundle.weights, str(path))
    stored = list(_constants(read))
    dtypes: Counter[str] = Counter()
    for _, dtype, count, _ in stored:
        dtypes[dtype] += count
    return Description(
        tuple(port.spec for port in bundle.inputs), tuple(port.spec for port in bundle.outputs),
        dict(Counter(layer.kind for layer in read if layer.kind != "Input")), sum(map(_parameters, read)), _all_macs(bundle, read),
        dict(dtypes), ledger=ledger.ledger(stored),
    )  # fmt: skip


def _constants(read: tuple[graph.Layer, ...]) -> Iterator[tuple[str, str, int, int]]:
    """(operator, dtype, bytes, axes longer than 1); ncnn's buffers are flat, and those with a tag are matrices."""
    for layer in read:
        for weights in layer.weights:
            yield layer.kind, weights.values.dtype.name, weights.values.nbytes, 2 if weights.tagged else 1


def _parameters(layer: graph.Layer) -> int:
    """Weights and biases; the scales of int8 are none."""
    scales = 0 if not layer.number(8) or layer.kind == "Gemm" else 3 if layer.number(8) > 100 else 2
    return sum(weights.values.size for weights in layer.weights[: len(layer.weights) - scales])


def _all_macs(bundle: Bundle, read: tuple[graph.Layer, ...]) -> int | None:
    if any(layer.kind in UNKNOWN_COST for layer in read):
        return None
    sizes = _sizes(bundle, read)
    found = [_macs(layer, sizes) for layer in read if layer.kind in WITH_MACS]
    return None if None in found else sum(count or 0 for count in found)


def _sizes(bundle: Bundle, read: tuple[graph.Layer, ...]) -> Mapping[str, int]:
    """Blob -> elements at the written shapes, dynamic axes as 1; none where the network does not run so."""
    wanted = {_counted(layer) for layer in read if layer.kind in WITH_MACS}
    try:
        return {blob: array.size for blob, array in values(bundle, as_written(bundle), wanted)}
    except EngineFailed:
        return {}


def _macs(layer: graph.Layer, sizes: Mapping[str, int]) -> int | None:
    """Elements of the output times the products of each; of a recurrent layer, its weights at each step."""
    if _counted(layer) not in sizes or not layer.weights:
        return None
    size = sizes[_counted(layer)]
    if layer.kind in ("LSTM", "GRU", "RNN"):
        directions = 2 if layer.number(2) == 2 else 1
        return size // (layer.number(0) * directions) * sum(layer.weights[n].values.size for n in (0, 2))
    if layer.kind == "Gemm":
        return size * layer.number(9)
    if layer.kind in _DECONVOLUTIONS:
        return size * _kernel(layer) * layer.number(0) // layer.number(7, 1)
    return size * layer.weights[0].values.size // layer.number(0)


def _counted(layer: graph.Layer) -> str:
    """The blob of which each element takes part in equally many products."""
    return layer.inputs[0] if layer.kind in _DECONVOLUTIONS else layer.outputs[0]


def _kernel(layer: graph.Layer) -> int:
    """Elements of the kernel of one channel: width, height and depth, as far as it has them."""
    width = layer.number(1)
    axes = 1 if layer.kind.endswith("1D") else 3 if layer.kind.endswith("3D") else 2
    return width * (layer.number(11, width) if axes > 1 else 1) * (layer.number(21, width) if axes > 2 else 1)

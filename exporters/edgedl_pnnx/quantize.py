"""w8a8 in ncnn: convolutions and dense layers in int8, symmetric, a scale per output channel of the weights and one per activation.

Written as ncnn's own ncnn2int8 writes it: weights of int8, then bias, then the scales by which weights and activations are
multiplied; a layer whose output goes into one int8 layer alone gives int8 itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgedl.errors import Unsupported
from edgedl.exporter import Calibration, QuantizationOptions
from edgedl.schemes import Scheme
from edgedl.spec import Array
from edgedl_pnnx.bundle import Bundle
from edgedl_pnnx.graph import Layer, Weights, read, written
from edgedl_pnnx.layers import layers as named_layers
from edgedl_pnnx.values import values

QUANTIZED = ("Convolution", "ConvolutionDepthWise", "InnerProduct")
_LARGEST = 127
_PER_GROUP, _PER_CHANNEL, _GIVES_INT8 = 1, 2, 100
"""ncnn's int8_scale_term: where the scales are, and that the layer's output stays int8"""


def quantize(
    source: Path, scheme: Scheme, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> None:
    """Write `source` in w8a8 to `path`, with ranges from float runs over `calibration`.

    InvalidArtifact if it is damaged; Unsupported where it has no layer of QUANTIZED, or one whose weights are not known;
    EngineFailed if ncnn does not run it.
    """
    options = options.check(f"{scheme.name} in ncnn", ("keep_float",), lambda: named_layers(source))
    assert calibration is not None
    bundle = Bundle.read(source)
    graph = read(bundle.param, bundle.weights, str(source))
    chosen = {layer.name for layer in graph if layer.kind in QUANTIZED and layer.name not in options.keep_float}
    if not chosen:
        raise Unsupported(f"{source} has no layer that ncnn computes in int8: {', '.join(QUANTIZED)}")
    largest = _largest(bundle, [layer for layer in graph if layer.name in chosen], calibration)
    given = _given_as_int8(graph, chosen)
    narrow = [_narrowed(layer, largest, given) if layer.name in chosen else layer for layer in graph]
    param, weights = written(narrow)
    path.write_bytes(replace(bundle, param=param, weights=weights).to_bytes())


def objection(source: Path) -> str | None:
    """What stays in float, where that is more than half of the weights."""
    bundle = Bundle.read(source)
    sizes: Counter[str] = Counter()
    for layer in read(bundle.param, bundle.weights, str(source)):
        sizes[layer.kind] += sum(weights.values.size for weights in layer.weights if weights.tagged)
    wide = [kind for kind, size in sizes.most_common() if size and kind not in QUANTIZED]
    share = sum(sizes[kind] for kind in wide) / max(sizes.total(), 1)
    if share <= 0.5:
        return None
    return (
        f"{share:.0%} of the weights of {source.name} are in {', '.join(wide)}, which w8a8 leaves in float in ncnn; "
        "quantize its ONNX or TFLite file"
    )


def _largest(bundle: Bundle, graph: Sequence[Layer], calibration: Calibration) -> dict[str, float]:
    """Input blob of a layer -> its largest absolute value over all runs."""
    found = dict.fromkeys((layer.inputs[0] for layer in graph), 0.0)
    for feeds in calibration():
        for blob, array in values(bundle, feeds, found):
            found[blob] = max(found[blob], float(np.abs(array).max(initial=0.0)))
    return found


def _given_as_int8(graph: Sequence[Layer], chosen: set[str]) -> dict[str, str]:
    """Layer -> its output, where that is the input of one quantized convolution and of nothing else."""
    readers: dict[str, list[Layer]] = {}
    for layer in graph:
        for blob in layer.inputs:
            readers.setdefault(blob, []).append(layer)
    convolutions = [layer for layer in graph if layer.name in chosen and layer.kind != "InnerProduct"]
    lone = {layer.name: readers.get(layer.outputs[0], []) for layer in convolutions}
    names = {layer.name for layer in convolutions}
    return {
        layer.name: layer.outputs[0]
        for layer in convolutions
        if len(lone[layer.name]) == 1 and lone[layer.name][0].name in names
    }


def _narrowed(layer: Layer, largest: Mapping[str, float], given: Mapping[str, str]) -> Layer:
    depthwise = layer.kind == "ConvolutionDepthWise"
    rows = layer.number(7) if depthwise else layer.number(0)
    matrix = layer.weights[0].values.astype(np.float32).reshape(rows, -1)
    scales = _scale(np.abs(matrix).max(1))
    integers = np.clip(np.rint(matrix * scales[:, None]), -_LARGEST, _LARGEST).astype(np.int8)
    term, after = _PER_GROUP if depthwise else _PER_CHANNEL, [scales, _scale(largest[layer.inputs[0]])]
    if layer.name in given:
        term, after = term + _GIVES_INT8, [*after, _scale(largest[given[layer.name]])]
    stored = (Weights(integers.ravel(), True), *layer.weights[1:], *(Weights(scale, False) for scale in after))
    return replace(layer, params={**layer.params, "8": str(term)}, weights=stored)


def _scale(largest: Array | float) -> Array:
    """What values are multiplied by, float32; 1 where all are zero."""
    wanted = np.atleast_1d(np.asarray(largest, np.float32))
    return np.where(wanted > 0, _LARGEST / np.maximum(wanted, np.finfo(np.float32).tiny), 1).astype(np.float32)

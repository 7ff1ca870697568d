"""Weights stored in fewer bits and widened when the model is loaded: a smaller file, the speed of float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgedl.exporter import Calibration, QuantizationOptions
from edgedl.spec import Array
from edgedl_onnx.graph import read, to_array, weights
from edgedl_onnx.layers import layer_name

SMALLEST = 64
"""Weights of fewer elements stay in float: their scales would cost what the narrower type saves."""


Narrowed = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]
"""(what is stored, the nodes that widen it)"""


Narrow = Callable[[Array, str, "int | None"], Narrowed]
"""(weights, their name, the axis of the channels or None for one scale) -> what is stored"""


Found = dict[str, tuple[onnx.NodeProto, onnx.TensorProto]]
"""name of a weight -> (a node that reads it, the weight)"""


def int8(source: Path, _: Calibration | None, path: Path, options: QuantizationOptions) -> None:
    _rewrite(source, path, options, _int8)


def float16(source: Path, _: Calibration | None, path: Path, options: QuantizationOptions) -> None:
    _rewrite(source, path, options, _float16)


def _rewrite(source: Path, path: Path, options: QuantizationOptions, narrow: Narrow) -> None:
    """Every weight stored by `narrow` and widened to float when the model is loaded."""
    model = read(source)
    _narrow_all(model, _narrowed(model, options), options, narrow)
    onnx.save(model, str(path))


def narrow_inner(model: onnx.ModelProto, options: QuantizationOptions) -> None:
    """Store the float weights of branches and loop bodies in int8, which onnxruntime's quantizers do not look into."""
    outside = {name for node in model.graph.node for name in node.input}
    inner = {name: item for name, item in _narrowed(model, options).items() if name not in outside}
    _narrow_all(model, inner, options, _int8)


def _narrow_all(model: onnx.ModelProto, found: Found, options: QuantizationOptions, narrow: Narrow) -> None:
    for name, (node, tensor) in found.items():
        axis = _channel_axis(node) % len(tensor.dims) if options.per_channel else None
        initializers, nodes = narrow(to_array(tensor), name, axis)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(initializers)
        for place, widening in enumerate(nodes):
            model.graph.node.insert(place, widening)


def _narrowed(model: onnx.ModelProto, options: QuantizationOptions) -> Found:
    """The weights that are large enough, or all where none is, and that no layer needs which stays float."""
    found = list(weights(model))
    kept = {tensor.name for node, tensor in found if layer_name(node) in options.keep_float}
    wanted = {tensor.name: (node, tensor) for node, tensor in found if tensor.name not in kept}
    large = {name: item for name, item in wanted.items() if np.prod(item[1].dims) >= SMALLEST}
    return large or wanted


def _channel_axis(node: onnx.NodeProto) -> int:
    """The axis of the output channels in the operator's weight layout; https://onnx.ai/onnx/operators/."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gather": 0}.get(node.op_type, 1)


def _int8(weight: Array, name: str, axis: int | None) -> Narrowed:
    """Symmetric per-channel: scale = max|w| / 127 along the channel, w = scale * int8.

    Cast and Mul, and not DequantizeLinear: the engine folds those when it loads the model, and this one it runs each time.
    """
    others = tuple(n for n in range(weight.ndim) if n != axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
    stored = np.rint(weight / scale).astype(np.int8)
    initializers = [
        numpy_helper.from_array(stored, f"{name}_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
    ]
    nodes = [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name]),
    ]
    return initializers, nodes


def _float16(weight: Array, name: str, _: int | None) -> Narrowed:
    """Half precision in the file, a Cast to float before the operator: half-precision kernels are slower on CPUs."""
    stored = np.clip(weight, np.finfo(np.float16).min, np.finfo(np.float16).max).astype(np.float16)
    cast = helper.make_node("Cast", [f"{name}_fp16"], [name], to=onnx.TensorProto.FLOAT)
    return [numpy_helper.from_array(stored, f"{name}_fp16")], [cast]

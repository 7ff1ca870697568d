"""Integer products with activation ranges taken at run time, by onnxruntime's quantizer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgedl.balance import rounded
from edgedl.exporter import Calibration, FloatRegion, QuantizationOptions
from edgedl.verify.parity import relative_rms
from edgedl_onnx import gru, lossy
from edgedl_onnx.graph import read, to_array, weights
from edgedl_onnx.layers import layer_name, layer_nodes, nodes_called
from edgedl_onnx.prepare import prepared, quiet

_PRODUCTS = ("MatMul", "Gemm")
_EVEN = 0.015
"""Rounding error, relative to the RMS of the weights, up to which the weights of an LSTM have one scale for each direction: a scale for
each channel is applied in every step, and costs 15 % of a BiLSTM's speed."""


def quantize(
    source: Path, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> tuple[FloatRegion, ...]:
    """Integer MatMul, Gemm, LSTM and large GRU with ranges taken at run time; convolutions stay in float, where they are faster.

    calibration: where there is any, products of a join that one scale would lose a part of stay in float; they are returned.
    """
    with quiet(), tempfile.TemporaryDirectory() as folder:
        ready = prepared(source, Path(folder))
        model = read(ready)
        regions = lossy.float_regions(model, _PRODUCTS, calibration, 255, rounds_all=False) if calibration else ()
        kept = [*nodes_called(model, options.keep_float), *lossy.kept_nodes(model, regions)]
        even = [name for name in _even(read(ready)) if name not in kept]
        if even and options.per_channel:
            _quantize(ready, ready.with_name("even.onnx"), kept, False, nodes_to_quantize=even)
            ready = ready.with_name("even.onnx")
        _quantize(ready, path, kept, options.per_channel)
    model = gru.quantize_all(read(path), options.keep_float, options.narrow)
    for node in [node for node in layer_nodes(model) if layer_name(node) in options.narrow]:
        _narrow(model, node)
    onnx.save(model, str(path))
    return regions


def _quantize(source: Path, path: Path, kept: list[str], per_channel: bool, **more: Any) -> None:
    quantize_dynamic(
        str(source), str(path), per_channel=per_channel, weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"], extra_options={"MatMulConstBOnly": True},
        nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)], **more,  # the tool makes a MatMul of each Gemm first
    )  # fmt: skip


def _even(model: onnx.ModelProto) -> list[str]:
    """The LSTM nodes all of whose weights one scale for each direction serves."""
    errors: dict[str, float] = {}
    outer = {node.name for node in model.graph.node}
    for node, tensor in weights(model):
        if node.op_type == "LSTM" and node.name in outer:
            weight = to_array(tensor)
            errors[node.name] = max(errors.get(node.name, 0.0), relative_rms(rounded(weight, 0), weight))
    return [name for name, error in errors.items() if error <= _EVEN]


def _narrow(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """The layer's int8 weights in 7 bits, -64 to 64, and their scales larger by as much."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in (name for name in node.input if name.endswith("_quantized") and name in constants):
        scale = constants[f"{name.removesuffix('_quantized')}_scale"]
        stored = np.rint(to_array(constants[name]) * (64 / 127)).astype(np.int8)
        constants[name].CopyFrom(numpy_helper.from_array(stored, name))
        scale.CopyFrom(numpy_helper.from_array((to_array(scale) * (127 / 64)).astype(np.float32), scale.name))

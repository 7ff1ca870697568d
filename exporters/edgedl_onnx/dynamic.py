"""Integer products with activation ranges taken at run time, by onnxruntime's quantizer."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgedl.exporter import Calibration, QuantizationOptions
from edgedl_onnx import gru
from edgedl_onnx.graph import read, to_array
from edgedl_onnx.layers import layer_name, layer_nodes, nodes_called
from edgedl_onnx.prepare import prepared, quiet


def quantize(source: Path, _: Calibration | None, path: Path, options: QuantizationOptions) -> None:
    """Integer MatMul, Gemm, LSTM and large GRU with ranges taken at run time; convolutions stay in float, where they are faster."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        ready = prepared(source, Path(folder))
        kept = nodes_called(read(ready), options.keep_float)
        quantize_dynamic(
            str(ready), str(path), per_channel=options.per_channel, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"], extra_options={"MatMulConstBOnly": True},
            nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],  # the tool makes a MatMul of each Gemm first
        )  # fmt: skip
    model = gru.quantize_all(read(path), options.keep_float)
    for node in [node for node in layer_nodes(model) if layer_name(node) in options.narrow]:
        _narrow(model, node)
    onnx.save(model, str(path))


def _narrow(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """The layer's int8 weights in 7 bits, -64 to 64, and their scales larger by as much."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in (name for name in node.input if name.endswith("_quantized") and name in constants):
        scale = constants[f"{name.removesuffix('_quantized')}_scale"]
        stored = np.rint(to_array(constants[name]) * (64 / 127)).astype(np.int8)
        constants[name].CopyFrom(numpy_helper.from_array(stored, name))
        scale.CopyFrom(numpy_helper.from_array((to_array(scale) * (127 / 64)).astype(np.float32), scale.name))

"""Integer products with activation ranges taken at run time, by onnxruntime's quantizer."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgedl.exporter import Calibration, QuantizationOptions
from edgedl_onnx import gru
from edgedl_onnx.graph import read
from edgedl_onnx.layers import nodes_called
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
    onnx.save(gru.quantize_all(read(path), options.keep_float), str(path))

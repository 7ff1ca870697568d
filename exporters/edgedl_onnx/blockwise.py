"""4-bit weights with a scale for each block of 32: onnxruntime's MatMulNBits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from edgedl.exporter import Calibration, QuantizationOptions
from edgedl_onnx.graph import read, to_array
from edgedl_onnx.layers import nodes_called
from edgedl_onnx.linear import Linear, linears, replace
from edgedl_onnx.prepare import prepared, quiet

BLOCK = 32
_BITS = 4


def quantize(source: Path, _: Calibration | None, path: Path, options: QuantizationOptions) -> None:
    """The weights of MatMul and Gemm in 4 bits, computed on in float; all else stays as it is."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model = read(prepared(source, Path(folder)))
        for linear in [linear for linear in linears(model) if linear.node.op_type == "Gemm"]:
            _as_matmul(model, linear)
        kept = nodes_called(model, options.keep_float)
        tool = MatMulNBitsQuantizer(model, bits=_BITS, block_size=BLOCK, is_symmetric=True, nodes_to_exclude=kept)
        tool.process()
    onnx.save(tool.model.model, str(path))


def _as_matmul(model: onnx.ModelProto, linear: Linear) -> None:
    """A Gemm as MatMul and Add, under the same name; one that scales or transposes its input stays."""
    node = linear.node
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("transA") or attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1:
        return
    if attributes.get("transB"):
        replace(linear.weight, np.ascontiguousarray(to_array(linear.weight).T))
    place, output, inputs = list(model.graph.node).index(node), node.output[0], list(node.input)
    product = f"{output}_product" if len(inputs) > 2 else output
    node.CopyFrom(helper.make_node("MatMul", inputs[:2], [product], node.name))
    if len(inputs) > 2:
        model.graph.node.insert(place + 1, helper.make_node("Add", [product, inputs[2]], [output], f"{node.name}_bias"))

"""Layers that are a product of their input with constant weights, seen alike: Conv, Gemm and MatMul."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgedl.spec import Array
from edgedl_onnx.canonical import nodes
from edgedl_onnx.graph import to_array
from edgedl_onnx.layers import layer_name


@dataclass
class Linear:
    """node: the operator. weight, bias: its initializers, bias None where it has none."""

    node: onnx.NodeProto
    weight: onnx.TensorProto
    bias: onnx.TensorProto | None

    @property
    def name(self) -> str:
        return layer_name(self.node)

    @property
    def output_axis(self) -> int:
        """The axis of the output channels in the weight."""
        if self.node.op_type == "Gemm":
            return 0 if self._flag("transB") else 1
        return {"Conv": 0}.get(self.node.op_type, len(self.weight.dims) - 1)

    @property
    def depthwise(self) -> bool:
        return self.grouped and int(self.weight.dims[1]) == 1 and self._flag("group") == int(self.weight.dims[0])

    @property
    def grouped(self) -> bool:
        return self.node.op_type == "Conv" and self._flag("group") > 1

    def _flag(self, name: str) -> int:
        return next((int(a.i) for a in self.node.attribute if a.name == name), 1 if name == "group" else 0)

    def by_output(self) -> Array:
        """The weights as [output channels, weights of the channel]."""
        array = np.moveaxis(to_array(self.weight), self.output_axis, 0)
        return array.reshape(len(array), -1)

    def by_input(self) -> Array:
        """The weights as [input channels, weights of the channel]; a grouped convolution only where it is depthwise."""
        array = to_array(self.weight)
        array = array if self.depthwise else np.moveaxis(array, self._input_axis, 0)
        return array.reshape(len(array), -1)

    @property
    def _input_axis(self) -> int:
        return 1 if self.output_axis == 0 else 0 if self.node.op_type == "Gemm" else len(self.weight.dims) - 2

    def scale_outputs(self, factors: Array) -> None:
        """Multiply each output channel, bias included."""
        _scale(self.weight, factors, self.output_axis)
        if self.bias is not None:
            _scale(self.bias, factors, 0)

    def scale_inputs(self, factors: Array) -> None:
        """Multiply the weights of each input channel."""
        _scale(self.weight, factors, 0 if self.depthwise else self._input_axis)


def _scale(tensor: onnx.TensorProto, factors: Array, axis: int) -> None:
    array = to_array(tensor)
    shape = [-1 if number == axis else 1 for number in range(array.ndim)]
    replace(tensor, array * factors.reshape(shape))


def replace(tensor: onnx.TensorProto, array: Array) -> None:
    """New values under the same name."""
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), tensor.name))


def linears(model: onnx.ModelProto) -> Iterator[Linear]:
    """The layers of float weights that no other node reads, in the order of computation."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = Counter(name for node in nodes(model) for name in node.input)
    for node in model.graph.node:
        weight = constants.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if weight is None or weight.data_type != onnx.TensorProto.FLOAT or readers[weight.name] > 1:
            continue
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        if bias is not None and readers[bias.name] > 1:
            bias = _own_copy(model, node, bias)
        yield Linear(node, weight, bias)


def _own_copy(model: onnx.ModelProto, node: onnx.NodeProto, bias: onnx.TensorProto) -> onnx.TensorProto:
    copied = model.graph.initializer.add()
    copied.CopyFrom(bias)
    copied.name = node.input[2] = f"{node.output[0]}_own_bias"
    return copied


def own_bias(model: onnx.ModelProto, linear: Linear) -> onnx.TensorProto | None:
    """The layer's bias, made of zeros where it has none; None for a MatMul, which takes none, and a computed bias."""
    if linear.bias is None and linear.node.op_type != "MatMul" and len(linear.node.input) < 3:
        zeros = np.zeros(linear.weight.dims[linear.output_axis], np.float32)
        linear.bias = model.graph.initializer.add()
        linear.bias.CopyFrom(numpy_helper.from_array(zeros, f"{linear.node.output[0]}_own_bias"))
        linear.node.input.append(linear.bias.name)
    return linear.bias

"""What torch's quantize and dequantize operators become in an ONNX file: the form that ONNX Runtime's integer kernels take.

Weights and biases are stored as integers. Activations are unsigned: signed ones run at 0.7x of float on x86.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgedl.spec import Array
from edgedl_onnx.graph import to_array

_WITH_BIAS = ("Conv", "Gemm")
_CUTTING = ("Split", "Slice", "Gather", "Squeeze", "Reshape")
"""What takes a weight out of a packed one, such as those of attention."""


def store(model: onnx.ModelProto) -> None:
    """Edit `model`: weights and biases in integers, activations in uint8."""
    graph = _Graph(model)
    graph.unpack()
    for node in [node for node in model.graph.node if node.op_type == "QuantizeLinear"]:
        if node.input[0] in graph.constants:
            graph.fold(node)
        else:
            graph.unsign(node)
    for node in [node for node in model.graph.node if node.op_type in _WITH_BIAS and len(node.input) > 2]:
        graph.round_bias(node)
    graph.drop_unused()


class _Graph:
    """The constants of a graph, and who reads what."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.constants = {tensor.name: to_array(tensor) for tensor in model.graph.initializer}

    def unpack(self) -> None:
        """Parts of constants become constants."""
        for node in [node for node in self.graph.node if node.op_type in _CUTTING]:
            if all(name in self.constants for name in node.input if name):
                parts = ReferenceEvaluator(node).run(None, {name: self.constants[name] for name in node.input if name})
                for name, part in zip(node.output, parts, strict=True):
                    self._add(name, part)
                self.graph.node.remove(node)

    def fold(self, node: onnx.NodeProto) -> None:
        """A constant and the rounding of it become an integer constant."""
        values, scale, zero = (self.constants[name] for name in node.input)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        result, low, high = node.output[0], np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
        clip = [user for user in self._users(result) if user.op_type == "Clip"]
        if clip:
            low, high = (int(self.constants[name]) for name in clip[0].input[1:])
            self.graph.node.remove(clip[0])
            result = clip[0].output[0]
        shape = [-1 if number == axis and scale.ndim else 1 for number in range(values.ndim)]
        rounded = np.rint(values / scale.reshape(shape)) + zero.reshape(shape)
        self.graph.node.remove(node)
        self._add(result, np.clip(rounded, low, high).astype(zero.dtype))

    def unsign(self, node: onnx.NodeProto) -> None:
        """int8 with zero point z and uint8 with z + 128 are the same numbers."""
        if self.constants[node.input[2]].dtype != np.int8:
            return
        name = f"{node.output[0]}_zero_point"
        self._add(name, (self.constants[node.input[2]].astype(np.int16) + 128).astype(np.uint8))
        for user in (node, *(user for user in self._users(node.output[0]) if user.op_type == "DequantizeLinear")):
            user.input[2] = name

    def round_bias(self, node: onnx.NodeProto) -> None:
        """int32 in steps of input scale x weight scale, as the integer kernels add it."""
        bias = node.input[2]
        scales = [self._scale_of(name) for name in node.input[:2]]
        if bias not in self.constants or scales[0] is None or scales[1] is None:
            return
        scale = (scales[0] * scales[1]).astype(np.float32).reshape(-1)
        scale = np.broadcast_to(scale, self.constants[bias].shape) if scale.size > 1 else scale.reshape(())
        steps = np.clip(np.rint(self.constants[bias] / scale), -(2.0**31), 2.0**31 - 1)
        names = [f"{node.output[0]}_bias{part}" for part in ("_int32", "_scale", "_zero_point", "")]
        self._add(names[0], steps.astype(np.int32))
        self._add(names[1], np.ascontiguousarray(scale))
        self._add(names[2], np.zeros(scale.shape, np.int32))
        place = list(self.graph.node).index(node)
        self.graph.node.insert(place, helper.make_node("DequantizeLinear", names[:3], names[3:], names[3], axis=0))
        node.input[2] = names[3]

    def _scale_of(self, name: str) -> Array | None:
        maker = next((n for n in self.graph.node if name in n.output and n.op_type == "DequantizeLinear"), None)
        return self.constants.get(maker.input[1]) if maker is not None else None

    def _users(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if name in node.input]

    def _add(self, name: str, values: Array) -> None:
        self.constants[name] = values
        self.graph.initializer.append(numpy_helper.from_array(values, name))

    def drop_unused(self) -> None:
        used = {name for node in self.graph.node for name in node.input} | {value.name for value in self.graph.output}
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name not in used]:
            self.graph.initializer.remove(tensor)

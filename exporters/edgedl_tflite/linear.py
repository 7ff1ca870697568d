"""Layers that are a product of their input with constant weights, seen alike: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.spec import Array
from edgedl_tflite import flatbuffer

_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_WEIGHT, _BIAS = 1, 2


@dataclass
class Linear:
    """operator: one of the main graph, with float constants. kind: its name. activation: the function fused into it."""

    model: Any
    operator: Any
    kind: str

    @property
    def name(self) -> str:
        return flatbuffer.text(self.model.subgraphs[0].tensors[self.operator.outputs[0]].name)

    @property
    def activation(self) -> int:
        return int(self.operator.builtinOptions.fusedActivationFunction)

    @property
    def output_axis(self) -> int:
        """Of the weights: [out, height, width, in], [1, height, width, out] or [out, in]."""
        return 3 if self.kind == "DEPTHWISE_CONV_2D" else 0

    def weight(self) -> Array:
        return self._constant(_WEIGHT)

    def bias(self) -> Array:
        """[output channels]; zeros where the operator has none."""
        has_one = len(self.operator.inputs) > _BIAS and self.operator.inputs[_BIAS] >= 0
        return self._constant(_BIAS) if has_one else np.zeros(self.weight().shape[self.output_axis], np.float32)

    def by_output(self) -> Array:
        """The weights as [output channels, weights of the channel]."""
        array = np.moveaxis(self.weight(), self.output_axis, 0)
        return array.reshape(len(array), -1)

    def by_input(self) -> Array:
        """The weights as [input channels, weights of the channel]."""
        array = np.moveaxis(self.weight(), -1, 0)
        return array.reshape(len(array), -1)

    def scale_outputs(self, factors: Array) -> None:
        """Multiply each output channel, bias included."""
        shape = [-1 if number == self.output_axis else 1 for number in range(self.weight().ndim)]
        self.write(self.weight() * factors.reshape(shape), self.bias() * factors)

    def scale_inputs(self, factors: Array) -> None:
        """Multiply the weights of each input channel, which is the last axis."""
        self.write(self.weight() * factors, self.bias())

    def write(self, weight: Array, bias: Array) -> None:
        """New constants of this operator's own, under the names of the old ones."""
        inputs = flatbuffer.numbers(self.operator.inputs)
        inputs += [-1] * (_BIAS + 1 - len(inputs))
        for position, array in ((_WEIGHT, weight), (_BIAS, bias)):
            inputs[position] = self._replaced(inputs[position], np.ascontiguousarray(array, np.float32))
        self.operator.inputs = np.array(inputs, np.int32)

    def _replaced(self, index: int, array: Array) -> int:
        if index < 0 or not self._alone(index):
            return flatbuffer.add_constant(self.model, next(flatbuffer.unused_names(self.model)), array)
        self.model.buffers[self.model.subgraphs[0].tensors[index].buffer].data = np.frombuffer(
            array.tobytes(), np.uint8
        )
        return index

    def _alone(self, index: int) -> bool:
        """No other operator reads the tensor, and no other tensor its buffer."""
        graph = self.model.subgraphs[0]
        readers = sum(flatbuffer.numbers(o.inputs).count(index) for o in graph.operators)
        tensors = [t for each in self.model.subgraphs for t in each.tensors if t.buffer == graph.tensors[index].buffer]
        return readers == 1 and len(tensors) == 1

    def _constant(self, position: int) -> Array:
        tensor = self.model.subgraphs[0].tensors[self.operator.inputs[position]]
        values = flatbuffer.constant(self.model, tensor)
        assert values is not None
        return values.reshape(flatbuffer.shape_of(tensor))


def linears(model: Any) -> Iterator[Linear]:
    """The layers of float constants in the main graph, in the order of computation."""
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators or []:
        kind = flatbuffer.operator_name(model, operator)
        if kind not in _KINDS:
            continue
        constants = [tensors[index] for index in flatbuffer.numbers(operator.inputs)[_WEIGHT:] if index >= 0]
        if all(t.type == schema.TensorType.FLOAT32 and flatbuffer.constant(model, t) is not None for t in constants):
            yield Linear(model, operator, kind)

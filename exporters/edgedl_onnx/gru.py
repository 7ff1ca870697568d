"""GRU in int8. ONNX Runtime has no such kernel, so a large GRU becomes a Scan over integer products.

A step of the Scan costs 7 µs of its own. One thread, batch 1, AVX512-VNNI, int8 against float at 100 steps: hidden 128 0.3x,
256 0.7x, 320 1.0x, 384 1.4x, 512 4.5x (there the float weights leave the cache). Smaller ones are left in float.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedl.spec import Array
from edgedl_onnx.canonical import graphs
from edgedl_onnx.graph import to_array
from edgedl_onnx.layers import layer_name

PAYS_FROM = 384
"""Hidden size from which int8 is faster than float."""
_ATTRIBUTES = {"hidden_size", "linear_before_reset", "direction"}


def hidden_size(node: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "hidden_size")


def pays(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether int8 is faster: a large GRU of constant weights, as edgedl writes it (linear_before_reset, no sequence lengths)."""
    if node.op_type != "GRU" or hidden_size(node) < PAYS_FROM:
        return False
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    ordinary = attributes.keys() <= _ATTRIBUTES and attributes.get("linear_before_reset") == 1
    constant = {tensor.name for tensor in model.graph.initializer}
    lengths = len(node.input) > 4 and node.input[4]
    return ordinary and not lengths and len(node.input) > 3 and constant.issuperset(node.input[1:4])


def quantize_all(model: onnx.ModelProto, kept: Collection[str] = (), narrow: Collection[str] = ()) -> onnx.ModelProto:
    """The model with every GRU that pays rewritten, but those called as in `kept`; the same object where there is none.

    narrow: those with 7-bit weights.
    """
    for node in [node for node in model.graph.node if pays(model, node) and node.name not in kept]:
        _Rewriting(model, node, 64 if layer_name(node) in narrow else 127).carry_out()
    return model


class _Rewriting:
    """One GRU node. Equations: https://onnx.ai/onnx/operators/onnx__GRU.html with linear_before_reset; gates z, r, h."""

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto, most: int) -> None:
        """most: the largest stored weight."""
        self.most = most
        self.graph, self.node, self.hidden = model.graph, node, hidden_size(node)
        self.prefix = f"{node.name or node.output[0]}_int8"
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.weights = [to_array(constants[name]) for name in node.input[1:4]]
        self.nodes: list[onnx.NodeProto] = []

    def carry_out(self) -> None:
        directions = len(self.weights[0])
        results = [self._direction(number) for number in range(directions)]
        for output, axis, parts in zip(self.node.output, (1, 0), zip(*results, strict=True), strict=False):
            if output:
                self._joined(list(parts), axis, output)
        place = list(self.graph.node).index(self.node)
        self.graph.node.remove(self.node)
        for offset, node in enumerate(self.nodes):
            self.graph.node.insert(place + offset, node)
        self._drop_unused()

    def _direction(self, number: int) -> tuple[str, str]:
        """(every state [time, batch, hidden], the final one [batch, hidden])."""
        w, r, b = (array[number] for array in self.weights)
        p, half = f"{self.prefix}_{number}", 3 * self.hidden
        self.nodes += self._product(self.node.input[0], w, b[:half], f"{p}_x", p)
        self._start(number, f"{p}_start")
        reverse = [number] if number else [0]
        self._add("Scan", [f"{p}_start", f"{p}_x"], [f"{p}_end", f"{p}_every"], body=self._body(p, r, b[half:]),
                  num_scan_inputs=1, scan_input_directions=reverse, scan_output_directions=reverse)  # fmt: skip
        return f"{p}_every", f"{p}_end"

    def _start(self, number: int, name: str) -> None:
        """The initial state of one direction: a row of the given one, or zeros."""
        if len(self.node.input) > 5 and self.node.input[5]:
            index = self._constant(f"{name}_index", np.array(number, np.int64))
            self._add("Gather", [self.node.input[5], index], [name], axis=0)
            return
        hidden = self._constant(f"{name}_hidden", np.array([self.hidden], np.int64))
        self._add("Shape", [self.node.input[0]], [f"{name}_batch"], start=1, end=2)
        self._add("Concat", [f"{name}_batch", hidden], [f"{name}_shape"], axis=0)
        self._add("ConstantOfShape", [f"{name}_shape"], [name], value=numpy_helper.from_array(np.zeros(1, np.float32)))

    def _body(self, p: str, r: Array, bias: Array) -> onnx.GraphProto:
        parts = self._constant(f"{p}_parts", np.array([2 * self.hidden, self.hidden], np.int64))
        nodes = [
            *self._product("before", r, bias, "recurrent", f"{p}_r"),
            helper.make_node("Split", ["now", parts], ["now_zr", "now_h"], axis=-1),
            helper.make_node("Split", ["recurrent", parts], ["before_zr", "before_h"], axis=-1),
            helper.make_node("Add", ["now_zr", "before_zr"], ["sum_zr"]),
            helper.make_node("Sigmoid", ["sum_zr"], ["zr"]),
            helper.make_node("Split", ["zr"], ["z", "r"], axis=-1, num_outputs=2),
            helper.make_node("Mul", ["r", "before_h"], ["reset"]),
            helper.make_node("Add", ["now_h", "reset"], ["sum_h"]),
            helper.make_node("Tanh", ["sum_h"], ["candidate"]),
            helper.make_node("Sub", ["before", "candidate"], ["difference"]),
            helper.make_node("Mul", ["z", "difference"], ["kept"]),
            helper.make_node("Add", ["candidate", "kept"], ["after"]),
            helper.make_node("Identity", ["after"], ["every"]),
        ]
        value = {width: [None, width] for width in (self.hidden, 3 * self.hidden)}
        return helper.make_graph(
            nodes, f"{p}_step",
            [helper.make_tensor_value_info("before", TensorProto.FLOAT, value[self.hidden]),
             helper.make_tensor_value_info("now", TensorProto.FLOAT, value[3 * self.hidden])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, value[self.hidden]) for name in ("after", "every")],
        )  # fmt: skip

    def _product(self, x: str, weight: Array, bias: Array, output: str, p: str) -> list[onnx.NodeProto]:
        """output = x @ weight.T + bias, weight [n, k] in symmetric int8 per row, the range of x taken at run time."""
        scale = (np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny) / self.most).astype(np.float32)
        stored = self._constant(f"{p}_w", np.ascontiguousarray(np.rint(weight / scale[:, None]).astype(np.int8).T))
        scales, offset = self._constant(f"{p}_scale", scale), self._constant(f"{p}_bias", bias)
        return [
            helper.make_node("DynamicQuantizeLinear", [x], [f"{p}_q", f"{p}_s", f"{p}_z"]),
            helper.make_node("MatMulInteger", [f"{p}_q", stored, f"{p}_z"], [f"{p}_i"]),
            helper.make_node("Cast", [f"{p}_i"], [f"{p}_f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{p}_s", scales], [f"{p}_ss"]),
            helper.make_node("Mul", [f"{p}_f", f"{p}_ss"], [f"{p}_m"]),
            helper.make_node("Add", [f"{p}_m", offset], [output]),
        ]

    def _joined(self, parts: list[str], axis: int, output: str) -> None:
        axes = self._constant(f"{output}_axes", np.array([axis], np.int64))
        for part in parts:
            self._add("Unsqueeze", [part, axes], [f"{part}_direction"])
        self._add("Concat", [f"{part}_direction" for part in parts], [output], axis=axis)

    def _add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def _constant(self, name: str, value: Array) -> str:
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _drop_unused(self) -> None:
        used = {name for graph in graphs(self.graph) for node in graph.node for name in node.input}
        for tensor in [t for t in self.graph.initializer if t.name in self.node.input and t.name not in used]:
            self.graph.initializer.remove(tensor)

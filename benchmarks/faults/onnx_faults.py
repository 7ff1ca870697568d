"""Mistakes in ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import faults
from edgedl.spec import Array
from faults import Place

ACTIVATIONS = {
    "Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Clip", "Gelu", "Elu", "LeakyRelu", "PRelu", "Softmax", "LogSoftmax", "Exp", "Neg", "Abs",
    "Sqrt", "Erf", "Softplus",
}  # fmt: skip
WEIGHTS = (np.float32, np.int8, np.uint8)
TINY = 1e-3
"""A scalar below it beside a sum is there for the numerics."""


def injected(content: bytes, most: int, seed: int, time: int | None) -> Iterator[tuple[str, str, bytes]]:
    """time: at this length the file is cut, where it has such an axis."""
    kinds = {**KINDS, **({"length baked in": partial(_baked, length=time)} if time else {})}
    return faults.injected(content, kinds, onnx.ModelProto.FromString, _serialize, most, seed)


def _serialize(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString())


def _weights(model: onnx.ModelProto, change: Callable[[Array], Array], fits: Callable[[Array], bool]) -> list[Place]:
    stored = [(tensor, numpy_helper.to_array(tensor)) for tensor in model.graph.initializer]
    return [
        (tensor.name, partial(_store, tensor, change(values)))
        for tensor, values in stored
        if values.ndim >= 2 and values.dtype in WEIGHTS and max(values.shape) > 1 and fits(values)
    ]


def _store(tensor: onnx.TensorProto, values: Array) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def _square(values: Array) -> bool:
    return values.ndim == 2 and values.shape[0] == values.shape[1]


def _biases(model: onnx.ModelProto) -> list[Place]:
    constants = {
        tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 1 and tensor.dims[0] > 1
    }
    places = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "DequantizeLinear": 0}
    used = {
        name
        for node in model.graph.node
        for position, name in enumerate(node.input)
        if node.op_type == "Add" or places.get(node.op_type) == position
    }
    found = [(constants[name], numpy_helper.to_array(constants[name])) for name in sorted(used & constants.keys())]
    return [(t.name, partial(_store, t, np.zeros_like(v))) for t, v in found if v.dtype in (np.float32, np.int32)]


def _activations(model: onnx.ModelProto) -> list[Place]:
    return [(node.name, partial(_identity, node)) for node in model.graph.node if node.op_type in ACTIVATIONS]


def _identity(node: onnx.NodeProto) -> None:
    node.op_type, node.domain = "Identity", ""
    del node.attribute[:], node.input[1:]


def _off_by_one(model: onnx.ModelProto) -> list[Place]:
    slices = [
        (node.name, partial(_shift_slice, model, node))
        for node in model.graph.node
        if node.op_type == "Slice" and _is_constant(model, node, 1, 2)
    ]
    single = [
        (node.name, partial(_shift_index, model, node))
        for node in model.graph.node
        if node.op_type == "Gather" and _is_index(model, node)
    ]
    padded = [
        (node.name, partial(_shift_pads, _attribute(node, "pads"))) for node in model.graph.node if _has_pads(node)
    ]
    pads = [
        (node.name, partial(_shift_pad_node, model, node))
        for node in model.graph.node
        if node.op_type == "Pad" and _is_constant(model, node, 1)
    ]
    return [*slices, *single, *padded, *pads]


def _is_index(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    return (
        _is_constant(model, node, 1)
        and _constants(model)[node.input[1]].size == 1
        and node.input[0] not in _constants(model)
    )


def _shift_slice(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """One step towards the start, or away from it where it is at the start."""
    starts, ends = (_constants(model)[node.input[position]] for position in (1, 2))
    back = np.where(starts == 0, 1, -1)
    open_ended = np.abs(ends) > 1 << 30
    moved = np.where(open_ended, np.where(starts < 0, starts, ends), ends + back)
    node.input[1], node.input[2] = _constant(model, starts + back), _constant(model, moved)


def _shift_index(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    index = _constants(model)[node.input[1]]
    node.input[1] = _constant(model, np.asarray(index + np.where(index == 0, 1, -1), index.dtype))


def _has_pads(node: onnx.NodeProto) -> bool:
    pads = _attribute(node, "pads")
    return pads is not None and bool(pads.ints) and pads.ints[0] > 0


def _shift_pads(pads: onnx.AttributeProto) -> None:
    half = len(pads.ints) // 2
    pads.ints[0], pads.ints[half] = pads.ints[0] - 1, pads.ints[half] + 1


def _shift_pad_node(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    pads = _constants(model)[node.input[1]].copy()
    half = len(pads) // 2
    axis = int(np.argmax(np.maximum(pads[:half], pads[half:])))
    step = 1 if pads[axis] > 0 else -1
    pads[axis], pads[half + axis] = pads[axis] - step, pads[half + axis] + step
    node.input[1] = _constant(model, pads)


def _concatenated(model: onnx.ModelProto) -> list[Place]:
    floats = _float_tensors(model)
    return [
        (f"{node.name} input {position}", partial(_scale_input, model, node, position))
        for node in model.graph.node
        if node.op_type == "Concat"
        for position, name in enumerate(node.input)
        if name in floats
    ]


def _scale_input(model: onnx.ModelProto, node: onnx.NodeProto, position: int) -> None:
    factor = _constant(model, np.float32((1.5, 0.5, 0.0)[position % 3]))
    scaled = _unused(model)
    _before(model, node, helper.make_node("Mul", [node.input[position], factor], [scaled]))
    node.input[position] = scaled


def _masks(model: onnx.ModelProto) -> list[Place]:
    chosen = [(node.name, partial(_swap_inputs, node, 1, 2)) for node in model.graph.node if node.op_type == "Where"]
    return [*chosen, *((node.name, partial(_identity, node)) for node in model.graph.node if node.op_type == "Not")]


def _swap_inputs(node: onnx.NodeProto, first: int, second: int) -> None:
    node.input[first], node.input[second] = node.input[second], node.input[first]


def _operands(model: onnx.ModelProto) -> list[Place]:
    return [(n.name, partial(_swap_inputs, n, 0, 1)) for n in model.graph.node if n.op_type in ("Sub", "Div", "Pow")]


def _states(model: onnx.ModelProto) -> list[Place]:
    """An output `h_next` gives back the input `h`."""
    inputs = {value.name for value in model.graph.input}
    return [
        (value.name, partial(_stale, model, value.name))
        for value in model.graph.output
        if value.name.removesuffix("_next") in inputs - {value.name}
    ]


def _stale(model: onnx.ModelProto, output: str) -> None:
    elsewhere = _unused(model)
    for node in model.graph.node:
        node.output[:] = [elsewhere if name == output else name for name in node.output]
        node.input[:] = [elsewhere if name == output else name for name in node.input]
    model.graph.node.append(helper.make_node("Identity", [output.removesuffix("_next")], [output]))


def _epsilons(model: onnx.ModelProto) -> list[Place]:
    attributes = [(node.name, a) for node in model.graph.node if (a := _attribute(node, "epsilon")) is not None]
    scalars = [
        (t, v) for t in model.graph.initializer if (v := numpy_helper.to_array(t)).size == 1 and v.dtype == np.float32
    ]
    small = [(t.name, partial(_store, t, np.full_like(v, 0.1))) for t, v in scalars if 0 < v.flat[0] < TINY]
    return [*((name, partial(setattr, attribute, "f", 0.1)) for name, attribute in attributes), *small]


def _axes(model: onnx.ModelProto) -> list[Place]:
    softmax = [
        (node.name, a)
        for node in model.graph.node
        if node.op_type in ("Softmax", "LogSoftmax") and (a := _attribute(node, "axis")) is not None
    ]
    return [(name, partial(setattr, axis, "i", axis.i - 1 if axis.i != 0 else 1)) for name, axis in softmax]


def _transposes(model: onnx.ModelProto) -> list[Place]:
    """Permutations with two axes exchanged; most change a shape and do not run."""
    found = [(node.name, _attribute(node, "perm")) for node in model.graph.node if node.op_type == "Transpose"]
    return [(name, partial(_swap_ends, perm)) for name, perm in found if perm is not None and len(perm.ints) > 2]


def _swap_ends(perm: onnx.AttributeProto) -> None:
    perm.ints[-1], perm.ints[-2] = perm.ints[-2], perm.ints[-1]


def _reversed(model: onnx.ModelProto) -> list[Place]:
    found = [
        (node.name, _attribute(node, "direction"))
        for node in model.graph.node
        if node.op_type in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
    ]
    return [(name, partial(setattr, a, "s", b"reverse")) for name, a in found if a is not None and a.s == b"forward"]


def _scales(model: onnx.ModelProto) -> list[Place]:
    constants = _constants(model)
    found = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[1] in constants]
    return [(node.name, partial(_rescale, model, node, constants[node.input[1]])) for node in found]


def _rescale(model: onnx.ModelProto, node: onnx.NodeProto, scale: Array) -> None:
    changed = np.array(scale)
    changed.flat[0] *= 1.5
    node.input[1] = _constant(model, changed)


def _baked(model: onnx.ModelProto, length: int) -> list[Place]:
    """Every input with a time axis is cut at a length."""
    inputs = [
        (v.name, n)
        for v in model.graph.input
        for n, d in enumerate(v.type.tensor_type.shape.dim)
        if d.dim_param == "time"
    ]
    return [(f"cut at {length}", partial(_cut, model, inputs, length))] if inputs else []


def _cut(model: onnx.ModelProto, inputs: Sequence[tuple[str, int]], length: int) -> None:
    for name, axis in inputs:
        cut = _unused(model)
        for node in model.graph.node:
            node.input[:] = [cut if used == name else used for used in node.input]
        bounds = [_constant(model, np.array([value], np.int64)) for value in (0, length, axis)]
        model.graph.node.insert(0, helper.make_node("Slice", [name, *bounds], [cut]))


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def _constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _is_constant(model: onnx.ModelProto, node: onnx.NodeProto, *positions: int) -> bool:
    return all(node.input[position] in _constants(model) for position in positions)


def _constant(model: onnx.ModelProto, values: Any) -> str:
    """Name of a new initializer."""
    name = _unused(model)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def _unused(model: onnx.ModelProto) -> str:
    taken = {t.name for t in model.graph.initializer} | {
        name for node in model.graph.node for name in (*node.input, *node.output)
    }
    return next(name for number in count() if (name := f"fault_{number}") not in taken)


def _before(model: onnx.ModelProto, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
    index = next(i for i, other in enumerate(model.graph.node) if other is node or other.output[:] == node.output[:])
    model.graph.node.insert(index, new)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {v.name for v in (*graph.value_info, *graph.input) if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


KINDS: dict[str, faults.Kind] = {
    "one weight": partial(_weights, change=faults.one_value, fits=lambda values: True),
    "one channel of weights": partial(_weights, change=faults.one_channel, fits=lambda values: True),
    "swapped channels": partial(_weights, change=faults.swapped, fits=lambda values: True),
    "transposed weights": partial(_weights, change=np.transpose, fits=_square),
    "bias dropped": _biases,
    "activation dropped": _activations,
    "slice or pad off by one": _off_by_one,
    "part of a concatenation scaled": _concatenated,
    "mask inverted": _masks,
    "operands swapped": _operands,
    "stale state": _states,
    "wrong epsilon": _epsilons,
    "softmax over another axis": _axes,
    "axes exchanged": _transposes,
    "sequence reversed": _reversed,
    "wrong scale": _scales,
}

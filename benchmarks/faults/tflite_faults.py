"""Mistakes in TFLite files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

import faults
from edgedl.spec import Array
from edgedl_tflite import flatbuffer
from faults import Place

UNARY = {
    "RELU",
    "RELU6",
    "LOGISTIC",
    "TANH",
    "HARD_SWISH",
    "GELU",
    "ELU",
    "LEAKY_RELU",
    "SOFTMAX",
    "LOG_SOFTMAX",
    "EXP",
    "NEG",
    "ABS",
    "SQRT",
    "RSQRT",
}
WEIGHTS = (np.float32, np.int8)
TINY = 1e-3
"""A scalar below it beside a sum is there for the numerics."""


def injected(content: bytes, most: int, seed: int, time: int | None) -> Iterator[tuple[str, str, bytes]]:
    """time: at this length the file is cut, where an input has a second axis that is dynamic."""
    kinds = {**KINDS, **({"length baked in": partial(_baked, length=time)} if time else {})}
    return faults.injected(content, kinds, flatbuffer.parse, flatbuffer.serialize, most, seed)


def _operators(model: Any, *names: str) -> Iterator[tuple[Any, Any, str]]:
    """(subgraph, operator, place) of every operator of these names, or of all."""
    for number, graph in enumerate(model.subgraphs):
        for position, operator in enumerate(graph.operators):
            name = flatbuffer.operator_name(model, operator)
            if not names or name in names:
                yield graph, operator, f"{name} {number}.{position}"


def _values(model: Any, graph: Any, index: int) -> Array | None:
    """A constant in its shape."""
    if index < 0 or (flat := flatbuffer.constant(model, graph.tensors[index])) is None:
        return None
    shape = flatbuffer.shape_of(graph.tensors[index])
    return flat.reshape(shape) if flat.size == np.prod(shape, dtype=int) else None


def _replace(model: Any, graph: Any, operator: Any, position: int, values: Array) -> Any:
    """The operator has a constant of its own there; returns its tensor."""
    tensor = copy.deepcopy(graph.tensors[operator.inputs[position]])
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.shape = len(model.buffers) - 1, np.array(values.shape, np.int32)
    graph.tensors.append(tensor)
    operator.inputs = np.array(operator.inputs).copy()
    operator.inputs[position] = len(graph.tensors) - 1
    return tensor


def _weights(model: Any, change: Callable[[Array], Array], fits: Callable[[Array], bool]) -> list[Place]:
    return [
        (f"{place} input {position}", partial(_replace, model, graph, operator, position, change(values)))
        for graph, operator, place in _operators(model)
        for position, index in enumerate(operator.inputs)
        if (values := _values(model, graph, index)) is not None
        and values.ndim >= 2
        and values.dtype in WEIGHTS
        and max(values.shape) > 1
        and fits(values)
    ]


def _square(values: Array) -> bool:
    return values.ndim == 2 and values.shape[0] == values.shape[1]


def _biases(model: Any) -> list[Place]:
    return [
        (f"{place} input {position}", partial(_replace, model, graph, operator, position, np.zeros_like(values)))
        for graph, operator, place in _operators(
            model, "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD"
        )
        for position, index in enumerate(operator.inputs)
        if (values := _values(model, graph, index)) is not None
        and values.ndim == 1
        and values.size > 1
        and values.dtype in (np.float32, np.int32)
    ]


def _activations(model: Any) -> list[Place]:
    fused = [
        (place, partial(setattr, operator.builtinOptions, "fusedActivationFunction", 0))
        for _, operator, place in _operators(model)
        if getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    ]
    return [
        *fused,
        *((place, partial(_bypass, model, graph, operator)) for graph, operator, place in _operators(model, *UNARY)),
    ]


def _bypass(model: Any, graph: Any, operator: Any) -> None:
    """What reads the operator reads its input."""
    _redirect(model, graph, int(operator.outputs[0]), int(operator.inputs[0]))
    graph.operators.remove(operator)


def _redirect(model: Any, graph: Any, old: int, new: int) -> None:
    for other in graph.operators:
        other.inputs = np.array(
            [new if index == old else index for index in flatbuffer.numbers(other.inputs)], np.int32
        )
    graph.outputs = np.array([new if index == old else index for index in graph.outputs], np.int32)
    for signature in model.signatureDefs or [] if graph is model.subgraphs[0] else []:
        for output in signature.outputs:
            output.tensorIndex = new if output.tensorIndex == old else output.tensorIndex


def _off_by_one(model: Any) -> list[Place]:
    constant = lambda graph, operator, position: _values(model, graph, operator.inputs[position])  # noqa: E731
    slices = [
        (place, partial(_shift_begin, model, graph, operator, begin))
        for graph, operator, place in _operators(model, "SLICE")
        if (begin := constant(graph, operator, 1)) is not None
    ]
    strided = [
        (place, partial(_shift_range, model, graph, operator, begin, end))
        for graph, operator, place in _operators(model, "STRIDED_SLICE")
        if (begin := constant(graph, operator, 1)) is not None and (end := constant(graph, operator, 2)) is not None
    ]
    pads = [
        (place, partial(_shift_pads, model, graph, operator, pads))
        for graph, operator, place in _operators(model, "PAD", "PADV2")
        if (pads := constant(graph, operator, 1)) is not None and pads.any()
    ]
    single = [
        (
            place,
            partial(_replace, model, graph, operator, 1, np.asarray(index + np.where(index == 0, 1, -1), index.dtype)),
        )
        for graph, operator, place in _operators(model, "GATHER", "GATHER_ND")
        if (index := constant(graph, operator, 1)) is not None and index.size == 1
    ]
    return [*slices, *strided, *pads, *single]


def _shift_begin(model: Any, graph: Any, operator: Any, begin: Array) -> None:
    """One step back on the axis that is cut; forward where it starts at 0."""
    source = flatbuffer.shape_of(graph.tensors[operator.inputs[0]])
    result = flatbuffer.shape_of(graph.tensors[operator.outputs[0]])
    axis = next((n for n, (a, b) in enumerate(zip(source, result, strict=False)) if a != b), 0)
    _replace(
        model, graph, operator, 1, begin + np.eye(len(begin), dtype=begin.dtype)[axis] * (1 if begin[axis] == 0 else -1)
    )


def _shift_range(model: Any, graph: Any, operator: Any, begin: Array, end: Array) -> None:
    axis = int(np.argmax(np.abs(begin)))
    step = np.eye(len(begin), dtype=begin.dtype)[axis] * (1 if begin[axis] == 0 else -1)
    _replace(model, graph, operator, 1, begin + step)
    _replace(model, graph, operator, 2, end + step)


def _shift_pads(model: Any, graph: Any, operator: Any, pads: Array) -> None:
    changed = pads.copy()
    axis = int(np.argmax(changed.max(1)))
    step = 1 if changed[axis, 0] > 0 else -1
    changed[axis] += np.array([-step, step], changed.dtype)
    _replace(model, graph, operator, 1, changed)


def _concatenated(model: Any) -> list[Place]:
    return [
        (f"{place} input {position}", partial(_scale_input, model, graph, operator, position))
        for graph, operator, place in _operators(model, "CONCATENATION")
        for position, index in enumerate(operator.inputs)
        if graph.tensors[index].type in (schema.TensorType.FLOAT32, schema.TensorType.INT8)
    ]


def _scale_input(model: Any, graph: Any, operator: Any, position: int) -> None:
    """Floats are multiplied; the scale of integers is another one."""
    tensor = graph.tensors[operator.inputs[position]]
    if tensor.type == schema.TensorType.INT8:
        tensor.quantization.scale = np.array(tensor.quantization.scale) * np.float32(1.5)
        return
    scaled = copy.deepcopy(tensor)
    scaled.buffer = 0
    graph.tensors.append(scaled)
    multiply = flatbuffer.make_operator(
        model, schema.BuiltinOperator.MUL, [operator.inputs[position], operator.inputs[position]], [len(graph.tensors) - 1], schema.MulOptionsT()
    )  # fmt: skip
    graph.operators.insert(graph.operators.index(operator), multiply)
    _replace(model, graph, multiply, 1, np.float32([(1.5, 0.5, 0.0)[position % 3]])).shapeSignature = None
    operator.inputs = np.array(operator.inputs).copy()
    operator.inputs[position] = len(graph.tensors) - 2


def _masks(model: Any) -> list[Place]:
    found = [(p, partial(_swap_inputs, operator, 1, 2)) for _, operator, p in _operators(model, "SELECT", "SELECT_V2")]
    return [
        *found,
        *((p, partial(_bypass, model, graph, operator)) for graph, operator, p in _operators(model, "LOGICAL_NOT")),
    ]


def _swap_inputs(operator: Any, first: int, second: int) -> None:
    inputs = flatbuffer.numbers(operator.inputs)
    inputs[first], inputs[second] = inputs[second], inputs[first]
    operator.inputs = np.array(inputs, np.int32)


def _operands(model: Any) -> list[Place]:
    return [
        (place, partial(_swap_inputs, operator, 0, 1)) for _, operator, place in _operators(model, "SUB", "DIV", "POW")
    ]


def _states(model: Any) -> list[Place]:
    """An output `h_next` gives back the input `h`."""
    (signature, *_) = model.signatureDefs or [None]
    inputs = {flatbuffer.text(entry.name): entry.tensorIndex for entry in signature.inputs} if signature else {}
    outputs = [(flatbuffer.text(entry.name), entry) for entry in signature.outputs] if signature else []
    kept = [
        (name, entry, inputs[name.removesuffix("_next")])
        for name, entry in outputs
        if name.removesuffix("_next") in inputs
    ]
    return [(name, partial(_stale, model, entry, source)) for name, entry, source in kept]


def _stale(model: Any, entry: Any, source: int) -> None:
    """The input, negated twice, which copies it."""
    graph = model.subgraphs[0]
    old, new = entry.tensorIndex, source
    for name in (b"fault/negated", b"fault/stale"):
        result = copy.deepcopy(graph.tensors[source])
        result.name = name
        graph.tensors.append(result)
        options = schema.NegOptionsT()
        graph.operators.append(
            flatbuffer.make_operator(model, schema.BuiltinOperator.NEG, [new], [len(graph.tensors) - 1], options)
        )
        new = len(graph.tensors) - 1
    graph.outputs = np.array([new if index == old else index for index in graph.outputs], np.int32)
    entry.tensorIndex = new


def _epsilons(model: Any) -> list[Place]:
    return [
        (f"{place} input {position}", partial(_replace, model, graph, operator, position, np.full_like(values, 0.1)))
        for graph, operator, place in _operators(model, "ADD", "MAXIMUM")
        for position, index in enumerate(operator.inputs)
        if (values := _values(model, graph, index)) is not None
        and values.size == 1
        and values.dtype == np.float32
        and 0 < values.flat[0] < TINY
    ]


def _sharpness(model: Any) -> list[Place]:
    return [
        (place, partial(setattr, operator.builtinOptions, "beta", 2.0))
        for _, operator, place in _operators(model, "SOFTMAX")
    ]


def _transposes(model: Any) -> list[Place]:
    """Permutations with two axes exchanged; most change a shape and do not run."""
    return [
        (place, partial(_replace, model, graph, operator, 1, order[[*range(len(order) - 2), -1, -2]]))
        for graph, operator, place in _operators(model, "TRANSPOSE")
        if (order := _values(model, graph, operator.inputs[1])) is not None and len(order) > 2
    ]


def _scales(model: Any) -> list[Place]:
    return [
        (f"{place} output", partial(_rescale, graph.tensors[operator.outputs[0]]))
        for graph, operator, place in _operators(model)
        if _is_scaled(graph.tensors[operator.outputs[0]])
    ] + [
        (f"{place} weights", partial(_rescale, graph.tensors[operator.inputs[1]]))
        for graph, operator, place in _operators(model, "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
        if _is_scaled(graph.tensors[operator.inputs[1]])
    ]


def _is_scaled(tensor: Any) -> bool:
    return (
        tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale) > 0
    )


def _rescale(tensor: Any) -> None:
    changed = np.array(tensor.quantization.scale)
    changed[0] *= 1.5
    tensor.quantization.scale = changed


def _baked(model: Any, length: int) -> list[Place]:
    """Every input with a dynamic second axis is cut at a length."""
    graph = model.subgraphs[0]
    timed = [index for index in flatbuffer.numbers(graph.inputs) if _is_timed(graph.tensors[index])]
    return [(f"cut at {length}", partial(_cut, model, graph, timed, length))] if timed else []


def _is_timed(tensor: Any) -> bool:
    signature = tensor.shapeSignature
    return signature is not None and len(signature) > 1 and signature[1] < 0


def _cut(model: Any, graph: Any, timed: list[int], length: int) -> None:
    for index in timed:
        cut = copy.deepcopy(graph.tensors[index])
        cut.name = flatbuffer.text(cut.name) + "/cut"
        graph.tensors.append(cut)
        new, rank = len(graph.tensors) - 1, len(flatbuffer.shape_of(cut))
        for other in graph.operators:
            other.inputs = np.array([new if i == index else i for i in flatbuffer.numbers(other.inputs)], np.int32)
        ends = ([0] * rank, [0, length, *[0] * (rank - 2)], [1] * rank)
        bounds = [flatbuffer.add_constant(model, f"fault/{new}/{n}", np.array(v, np.int32)) for n, v in enumerate(ends)]
        options = schema.StridedSliceOptionsT()
        options.beginMask = (1 << rank) - 1
        options.endMask = options.beginMask & ~2
        graph.operators.insert(
            0, flatbuffer.make_operator(model, schema.BuiltinOperator.STRIDED_SLICE, [index, *bounds], [new], options)
        )


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
    "softmax of another sharpness": _sharpness,
    "axes exchanged": _transposes,
    "wrong scale": _scales,
}

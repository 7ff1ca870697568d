"""What is in an ONNX file: operators, parameters, MACs, bytes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx

from edgedl.errors import InvalidArtifact
from edgedl.exporter import Description
from edgedl.ledger import ledger
from edgedl.spec import TensorSpec, axis_names
from edgedl_onnx.canonical import graphs, nodes, subgraphs
from edgedl_onnx.graph import read
from edgedl_onnx.ids import id_ranges

Shapes = dict[str, tuple[int, ...]]
"""value name -> shape, dynamic axes as 1"""

_FLOATS = {"float32", "float16", "float64", "bfloat16"}
_WEIGHT_DTYPES = _FLOATS | {"int8", "uint8", "int4", "uint4"}


def describe(path: Path) -> Description:
    """InvalidArtifact if the file is not ONNX."""
    model = read(path)
    try:
        return _describe(model)
    except (ValueError, KeyError, IndexError, TypeError, onnx.shape_inference.InferenceError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidArtifact(f"{path} is a damaged ONNX model: {said}") from error


def _describe(model: onnx.ModelProto) -> Description:
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    return Description(
        tuple(map(_spec, inputs)),
        tuple(map(_spec, model.graph.output)),
        dict(Counter(node.op_type for node in nodes(model))),
        sum(math.prod(tensor.dims) for tensor in model.graph.initializer if _dtype(tensor.data_type) in _WEIGHT_DTYPES),
        sum(macs.values()) if (macs := macs_by_operator(model)) is not None else None,
        _bytes(model),
        opset,
        ledger(_constants(model)),
        id_ranges(model),
    )


def _dtype(code: int) -> str:
    return (
        str(onnx.TensorProto.DataType.Name(code))
        .lower()
        .replace("float", "float32")
        .replace("float3216", "float16")
        .replace("bfloat3216", "bfloat16")
        .replace("double", "float64")
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    dims = value.type.tensor_type.shape.dim
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]
    return TensorSpec(value.name, axis_names(value.name, shape), _dtype(value.type.tensor_type.elem_type))


def _bytes(model: onnx.ModelProto) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        counted[_dtype(tensor.data_type)] += _size(tensor)
    return dict(counted)


def _size(tensor: onnx.TensorProto) -> int:
    four = _dtype(tensor.data_type) in ("int4", "uint4")
    bits: int = 4 if four else 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return -(-math.prod(map(int, tensor.dims)) * bits // 8)


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, str, int, int]]:
    """(operator, dtype, bytes, axes longer than 1) of every initializer; the operator is the first to compute with it, after what widens it."""
    constant = {tensor.name for tensor in model.graph.initializer}
    every = list(nodes(model))  # in the order of computation, but for inner graphs, which come last
    for node in every:
        if node.input and constant.issuperset(name for name in node.input if name):
            constant.update(node.output)
    reader: dict[str, str] = {}
    for node in reversed(every):
        for name in node.input:
            passed_on = next((reader[out] for out in node.output if out in reader), "unused")
            reader[name] = passed_on if constant.issuperset(node.output) else node.op_type
    for tensor in model.graph.initializer:
        yield reader.get(tensor.name, "unused"), _dtype(tensor.data_type), _size(tensor), _rank(tensor.dims)


def _rank(dims: Sequence[int]) -> int:
    return sum(length > 1 for length in dims)


def shapes_of(model: onnx.ModelProto) -> Shapes:
    """Of every value and constant whose shape is written or can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (value for graph in graphs(inferred) for value in (*graph.input, *graph.value_info, *graph.output)):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
    return shapes


def macs_by_operator(model: onnx.ModelProto) -> dict[str, int] | None:
    """Multiply-accumulates by operator type; None if a shape or a number of repetitions is not known.

    Of the branches of an If, the one that costs most counts.
    """
    macs = _macs_in(model.graph, shapes_of(model))
    return None if macs is None else dict(macs)


def _macs_in(graph: onnx.GraphProto, shapes: Shapes) -> Counter[str] | None:
    macs: Counter[str] = Counter()
    for node in graph.node:
        if (cost := _macs_with_inner(node, shapes)) is None:
            return None
        macs.update(cost)
    return macs


def _macs_with_inner(node: onnx.NodeProto, shapes: Shapes) -> Counter[str] | None:
    """What the node costs by itself, and the graphs in it as often as they run."""
    if node.op_type in _COSTS:
        return None if (cost := macs_of(node, shapes)) is None else Counter({node.op_type: cost})
    inner = [_macs_in(graph, shapes) for graph in subgraphs(node)]
    known = [macs for macs in inner if macs is not None]
    if len(known) < len(inner):
        return None
    most = max(known, key=Counter.total, default=Counter[str]())
    if not most.total() or node.op_type == "If":
        return most
    repeated = _steps(node, shapes)
    return None if repeated is None else Counter({name: count * repeated for name, count in most.items()})


def _steps(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    """How often the body of a Scan runs; None for a Loop, which decides that as it runs."""
    if node.op_type != "Scan" or node.input[-1] not in shapes:
        return None
    axes = next((attribute.ints for attribute in node.attribute if attribute.name == "scan_input_axes"), (0,))
    return shapes[node.input[-1]][axes[-1]]


def macs_of(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    """Multiply-accumulates of one node; None if a shape that is needed is not known."""
    try:
        return _COSTS[node.op_type](node, shapes) if node.op_type in _COSTS else 0
    except (KeyError, IndexError):
        return None


def _conv(weight: int) -> Callable[[onnx.NodeProto, Shapes], int]:
    def cost(node: onnx.NodeProto, shapes: Shapes) -> int:
        """Each output element sums over one filter: input channels per group x kernel."""
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[weight]][1:])

    return cost


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input element is spread over one filter."""
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _matmul(left: int) -> Callable[[onnx.NodeProto, Shapes], int]:
    def cost(node: onnx.NodeProto, shapes: Shapes) -> int:
        return math.prod(shapes[node.output[0]]) * shapes[node.input[left]][-1]

    return cost


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * _inner(shapes[node.input[0]], _flag(node, "transA"))


def _inner(shape: Sequence[int], transposed: bool) -> int:
    return shape[0] if transposed else shape[-1]


def _flag(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every step multiplies by W and R: [directions, gates x hidden, input] and [..., hidden]."""
    steps_and_batch = math.prod(shapes[node.input[0]][:2])
    return steps_and_batch * (math.prod(shapes[node.input[1]]) + math.prod(shapes[node.input[2]]))


_COSTS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "Conv": _conv(1), "FusedConv": _conv(1), "ConvInteger": _conv(1), "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul(0), "MatMulInteger": _matmul(0),
    "QLinearMatMul": _matmul(0), "LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent,
    "DynamicQuantizeLSTM": _recurrent, "DynamicQuantizeMatMul": _matmul(0), "MatMulIntegerToFloat": _matmul(0),
}  # fmt: skip

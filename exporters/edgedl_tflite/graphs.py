"""Writing operators into any subgraph of a ModelT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedl.exporter import unused_name
from edgedl.spec import Array
from edgedl_tflite import flatbuffer

_CODE = schema.BuiltinOperator
FLOAT32, INT32, BOOL = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.BOOL


class GraphBuilder:
    """Appends tensors and operators to `graph`; its names begin with `prefix`, as names are unique in a model.

    operators: where the operators go; a list of its own serves to place them elsewhere in the graph later.
    """

    def __init__(self, model: Any, graph: Any, prefix: str, operators: list[Any]) -> None:
        self.model, self.graph, self.prefix, self.operators = model, graph, prefix, operators

    def tensor(self, shape: Sequence[int], code: int = FLOAT32, signature: Sequence[int] | None = None) -> int:
        """A tensor computed at run time. signature: the shape with -1 for dynamic lengths, which are written as 1."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = f"{self.prefix}/{len(self.graph.tensors)}", code, 0
        signature = shape if signature is None else signature
        tensor.shape = np.array([1 if n < 0 else n for n in signature], np.int32)
        if -1 in signature:
            tensor.shapeSignature = np.array(signature, np.int32)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def rename(self, index: int, name: str) -> None:
        """Give a tensor of this graph a name, with a number behind it where the model has one of that name already."""
        taken = {flatbuffer.text(tensor.name) for graph in self.model.subgraphs for tensor in graph.tensors}
        self.graph.tensors[index].name = unused_name(name, taken)

    def like(self, other: Any) -> int:
        """A tensor of the shape and dtype of a tensor, of this graph or another."""
        return self.tensor(flatbuffer.shape_of(other), other.type, signature_of(other))

    def resized(self, index: int, last: int) -> int:
        """A tensor like one of this graph, with another last dimension."""
        tensor = self.graph.tensors[index]
        shape, signature = flatbuffer.shape_of(tensor), signature_of(tensor)
        return self.tensor([*shape[:-1], last], tensor.type, [*signature[:-1], last])

    def constant(self, values: Array) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        index = self.tensor(values.shape, {"float32": FLOAT32, "int32": INT32}[values.dtype.name])
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def shared(self, other: Any) -> int:
        """A constant tensor with the buffer of another one."""
        index = self.like(other)
        self.graph.tensors[index].buffer, self.graph.tensors[index].quantization = other.buffer, other.quantization
        return index

    def add(self, code: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> int:
        """Append an operator; its first output."""
        self.operators.append(flatbuffer.make_operator(self.model, code, inputs, outputs, options))
        return outputs[0]

    def unary(self, code: int, x: int) -> int:
        return self.add(code, [x], [self.like(self.graph.tensors[x])])

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        output = self.tensor(shape, self.graph.tensors[x].type)
        self.reshape_into(x, output)
        return output

    def reshape_into(self, x: int, output: int) -> None:
        """The values of `x` in a tensor of a fixed shape that is there already."""
        shape = self.constant(np.array(flatbuffer.shape_of(self.graph.tensors[output]), np.int32))
        self.add(_CODE.RESHAPE, [x, shape], [output], schema.ReshapeOptionsT())

    def transpose_into(self, x: int, permutation: Sequence[int], output: int) -> None:
        operand = self.constant(np.array(permutation, np.int32))
        self.add(_CODE.TRANSPOSE, [x, operand], [output], schema.TransposeOptionsT())

    def mean_of_last(self, x: int) -> int:
        """The mean along the last axis, which stays with length 1."""
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axis = self.constant(np.array([len(flatbuffer.shape_of(self.graph.tensors[x])) - 1], np.int32))
        return self.add(_CODE.MEAN, [x, axis], [self.resized(x, 1)], options)

    def sum(self, x: int, y: int) -> int:
        return self.add(_CODE.ADD, [x, y], [self.like(self.graph.tensors[x])], schema.AddOptionsT())

    def difference(self, x: int, y: int) -> int:
        return self.add(_CODE.SUB, [x, y], [self.like(self.graph.tensors[x])], schema.SubOptionsT())

    def smaller(self, x: int, y: int) -> int:
        output = self.like(self.graph.tensors[x])
        return self.add(_CODE.MINIMUM, [x, y], [output], schema.MaximumMinimumOptionsT())

    def offsets(self, position: int, count: int) -> int:
        """position, position + 1, ... as a vector of `count` elements."""
        numbers = self.constant(np.arange(count, dtype=np.int32))
        return self.add(_CODE.ADD, [position, numbers], [self.tensor([count], INT32)], schema.AddOptionsT())

    def product(self, x: int, y: int) -> int:
        return self.add(_CODE.MUL, [x, y], [self.like(self.graph.tensors[x])], schema.MulOptionsT())

    def concatenation(self, parts: Sequence[int], shape_of: Any, axis: int = 0) -> int:
        """The parts along an axis; `shape_of` is a tensor of the result's shape and dtype."""
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        return self.add(_CODE.CONCATENATION, parts, [self.like(shape_of)], options)

    def shape(self, x: int, rank: int) -> int:
        """The lengths of a tensor at run time, int32 [rank]."""
        options = schema.ShapeOptionsT()
        options.outType = INT32
        return self.add(_CODE.SHAPE, [x], [self.tensor([rank], INT32)], options)

    def lengthened(self, x: int, count: int) -> int:
        """A tensor of rank 3 with `count` zeros more along its first axis."""
        tensor = self.graph.tensors[x]
        (time, *rest), (axis, *others) = flatbuffer.shape_of(tensor), signature_of(tensor)
        output = self.tensor([time + count, *rest], tensor.type, [axis if axis < 0 else axis + count, *others])
        paddings = self.constant(np.array([[0, count], [0, 0], [0, 0]], np.int32))
        return self.add(_CODE.PAD, [x, paddings], [output], schema.PadOptionsT())

    def copy(self, x: int, output: int) -> None:
        """The same values in a tensor that is there already: a SLICE of everything, as of any shape."""
        rank = len(flatbuffer.shape_of(self.graph.tensors[x]))
        bounds = [self.constant(np.full(rank, n, np.int32)) for n in (0, -1)]
        self.add(_CODE.SLICE, [x, *bounds], [output], schema.SliceOptionsT())

    def vector(self, parts: Sequence[int], length: int) -> int:
        """int32 vectors in a row; `length` elements together."""
        options = schema.ConcatenationOptionsT()
        return self.add(_CODE.CONCATENATION, parts, [self.tensor([length], INT32)], options)

    def rows(self, sequence: int, positions: int) -> int:
        """The elements of the first axis at a vector of positions."""
        tensor, count = self.graph.tensors[sequence], flatbuffer.shape_of(self.graph.tensors[positions])[0]
        shape, signature = flatbuffer.shape_of(tensor)[1:], signature_of(tensor)[1:]
        output = self.tensor([count, *shape], tensor.type, [count, *signature])
        return self.add(_CODE.GATHER, [sequence, positions], [output], schema.GatherOptionsT())

    def written(self, sequence: int, rows: int, position: int) -> int:
        """The sequence [time, ..., ...] with `rows` in the place of those from `position` on."""
        start = self.vector([position, self.constant(np.zeros(2, np.int32))], 3)
        output = self.like(self.graph.tensors[sequence])
        return self.add(_CODE.DYNAMIC_UPDATE_SLICE, [sequence, rows, start], [output])

    def zeros(self, dims: int, shape_of: Any) -> int:
        """Zeros of the shape that a vector tensor says; `shape_of` is a tensor of that shape and dtype."""
        zero = self.constant(np.zeros((), np.float32))
        return self.add(_CODE.FILL, [dims, zero], [self.like(shape_of)], schema.FillOptionsT())

    def matrix_product(self, x: int, weight: int, bias: int) -> int:
        """x [..., in] by weight [out, in] plus bias [out] (-1 for none)."""
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        outputs = flatbuffer.shape_of(self.graph.tensors[weight])[0]
        return self.add(_CODE.FULLY_CONNECTED, [x, weight, bias], [self.resized(x, outputs)], options)

    def split(self, x: int, count: int, axis: int) -> list[int]:
        """Equal parts along an axis."""
        tensor = self.graph.tensors[x]
        signature = signature_of(tensor)
        signature[axis] = -1 if signature[axis] < 0 else signature[axis] // count
        parts = [self.tensor(signature, tensor.type, signature) for _ in range(count)]
        self.split_into(x, parts, axis)
        return parts

    def split_into(self, x: int, parts: Sequence[int], axis: int) -> None:
        """Equal parts along an axis, in tensors that are there already."""
        options = schema.SplitOptionsT()
        options.numSplits = len(parts)
        self.add(_CODE.SPLIT, [self.constant(np.array(axis, np.int32)), x], parts, options)

    def split_at(self, x: int, lengths: Sequence[int]) -> list[int]:
        """Parts of the given lengths along the last axis."""
        axis = self.constant(np.array(len(flatbuffer.shape_of(self.graph.tensors[x])) - 1, np.int32))
        parts = [self.resized(x, length) for length in lengths]
        options = schema.SplitVOptionsT()
        options.numSplits = len(lengths)
        self.add(_CODE.SPLIT_V, [x, self.constant(np.array(lengths, np.int32)), axis], parts, options)
        return parts


def signature_of(tensor: Any) -> list[int]:
    """The shape with -1 for dynamic lengths."""
    return flatbuffer.numbers(tensor.shapeSignature) or list(flatbuffer.shape_of(tensor))


def new_subgraph(model: Any, name: str) -> tuple[int, Any]:
    """(index, SubGraphT) of an empty subgraph at the end of the model."""
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = name, [], []
    model.subgraphs.append(graph)
    return len(model.subgraphs) - 1, graph

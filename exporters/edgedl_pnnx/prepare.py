"""Three things that pnnx 20261020 misreads or does not read in an ONNX file, written so that it reads them; the model computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import NodeProto, helper, numpy_helper


def prepared(source: Path, target: Path) -> None:
    """Write `source` to `target` with its embeddings and its means over the steps of a sequence in other words."""
    model = onnx.load(str(source))
    _plain_embeddings(model)
    _pooled_means(model)
    _pooled_maxima(model)
    onnx.save(model, str(target))


def _plain_embeddings(model: onnx.ModelProto) -> None:
    """pnnx knows an embedding by a Gather without an axis, which is the one along axis 0."""
    ranks, constant = _ranks(model), {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.input and constant.issuperset(node.input):
            constant.update(node.output)
        of_table = node.op_type == "Gather" and node.input[0] in constant and ranks.get(node.input[0]) == 2
        if of_table and all(a.name == "axis" and a.i == 0 for a in node.attribute):
            del node.attribute[:]


def _pooled_means(model: onnx.ModelProto) -> None:
    """The mean over axis 1 of [batch, time, features]: after an LSTM or an attention pnnx takes that axis for the batch,
    and drops the mean.
    """
    ranks = _ranks(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        pooled = node.op_type == "ReduceMean" and ranks.get(node.input[0]) == 3 and _axes(model, node) in ((1,), (-2,))
        model.graph.node.extend(_pooled(node) if pooled else [node])


def _pooled_maxima(model: onnx.ModelProto) -> None:
    """The maximum over all that comes behind the channels: pnnx writes a ReduceMax that ncnn does not have."""
    ranks = _ranks(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        rank = ranks.get(node.input[0], 0) if node.op_type == "ReduceMax" else 0
        behind = rank > 2 and sorted(axis % rank for axis in _axes(model, node)) == list(range(2, rank))
        model.graph.node.extend(_maxima(node) if behind else [node])


def _maxima(node: NodeProto) -> Iterator[NodeProto]:
    (name,) = node.output
    keeps = all(a.i for a in node.attribute if a.name == "keepdims")
    yield helper.make_node("GlobalMaxPool", [node.input[0]], [name if keeps else f"{name}_pooled"])
    if not keeps:
        yield helper.make_node("Flatten", [f"{name}_pooled"], [name], axis=1)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Those that shape inference finds."""
    graph = inferred(model).graph
    known = (v for v in (*graph.input, *graph.value_info) if v.type.tensor_type.HasField("shape"))
    stored = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    return stored | {value.name: len(value.type.tensor_type.shape.dim) for value in known}


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the shapes that onnx infers; as it is where that fails, as for an operator of no known domain."""
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception:
        return model


def _axes(model: onnx.ModelProto, node: NodeProto) -> tuple[int, ...]:
    """An attribute before opset 18, an input since; none where they are computed."""
    for attribute in node.attribute:
        if attribute.name == "axes":
            return tuple(attribute.ints)
    stored = (t for t in model.graph.initializer if len(node.input) > 1 and t.name == node.input[1])
    return next((tuple(numpy_helper.to_array(t).ravel().tolist()) for t in stored), ())


def _pooled(node: NodeProto) -> Iterator[NodeProto]:
    (name,), keeps = node.output, all(a.i for a in node.attribute if a.name == "keepdims")
    yield helper.make_node("Transpose", [node.input[0]], [f"{name}_columns"], perm=[0, 2, 1])
    yield helper.make_node("GlobalAveragePool", [f"{name}_columns"], [f"{name}_pooled"])
    if keeps:
        yield helper.make_node("Transpose", [f"{name}_pooled"], [name], perm=[0, 2, 1])
    else:
        yield helper.make_node("Flatten", [f"{name}_pooled"], [name], axis=1)

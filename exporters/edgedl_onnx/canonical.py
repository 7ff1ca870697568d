"""One form for ONNX files of every origin: what is constant is an initializer of the main graph, whatever wrote the file.

Weights come in Constant nodes, in the branches of an If and the body of a loop, in local functions, behind an Identity or a
Transpose, and listed as inputs. Inner graphs can read every initializer of the main graph, so all of them move there.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator

from edgedl.exporter import unused_name

FIRST_IR = 4
"""The first version of the file format in which an initializer need not be an input."""
MOST_NODES = 1_000_000
"""Nodes that local functions may expand to."""
_RESHAPING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_LISTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that computes the same, without local functions, Constant nodes and initializers among its inputs.

    Edits `model` or makes another. Inputs with a default value become constants. Every node has a name of its own.

    Raises:
        ValueError: The local functions expand to more than MOST_NODES operators.
    """
    whole = _without_functions(model)
    _take_out_default_inputs(whole)
    _hoist_constants(whole)
    _skip_identities(whole)
    _fold_reshaped(whole)
    if whole is not model:
        _share_equal(whole)
    _name_nodes(whole)
    return whole


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph, then the branches and loop bodies in it, at every depth."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the branches of an If, or the body of a Loop or Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the main graph, then those of the graphs in it."""
    return (node for graph in graphs(model.graph) for node in graph.node)


def inner_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of branches and loop bodies."""
    return (node for graph in graphs(model.graph) if graph is not model.graph for node in graph.node)


def drop_unread(model: onnx.ModelProto) -> None:
    """Take out the initializers that nothing reads; edits `model`."""
    read = {name for node in nodes(model) for name in node.input}
    read.update(value.name for graph in graphs(model.graph) for value in graph.output)
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name not in read:
            del model.graph.initializer[place]


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, by its first output where it has none."""
    taken: set[str] = set()
    for node in nodes(model):
        if not node.name or node.name in taken:
            node.name = unused_name(next((name for name in node.output if name), node.op_type), taken)
        taken.add(node.name)


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The body of each local function in the place of its calls; the model as it is where onnx cannot do that."""
    if not model.functions:
        return model
    if (count := _expanded(model)) > MOST_NODES:
        raise ValueError(f"its local functions expand to {count:,} operators, expected at most {MOST_NODES:,}")
    with contextlib.suppress(Exception):
        return inline_local_functions(model, convert_version=True)
    return model


def _expanded(model: onnx.ModelProto) -> int:
    """Nodes of the model with every call replaced by the body of its function."""
    bodies = {(f.domain, f.name): Counter((node.domain, node.op_type) for node in f.node) for f in model.functions}
    cost = dict.fromkeys(bodies, 1)
    for _ in bodies:  # a chain of n functions is counted after n rounds, in whatever order it comes
        cost = {name: sum(count * cost.get(op, 1) for op, count in body.items()) for name, body in bodies.items()}
        if max(cost.values()) > MOST_NODES:
            break
    return sum(cost.get((node.domain, node.op_type), 1) for node in nodes(model))


def _take_out_default_inputs(model: onnx.ModelProto) -> None:
    constant = {tensor.name for tensor in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in constant]:
        model.graph.input.remove(value)
    model.ir_version = max(model.ir_version, FIRST_IR)


def _hoist_constants(model: onnx.ModelProto) -> None:
    """Constant nodes, and the initializers of inner graphs, become initializers of the main graph, under names of their own."""
    taken = _names(model)
    for graph in graphs(model.graph):
        returned = {value.name for value in graph.output}
        for tensor in [*_from_nodes(graph, returned), *_from_inside(model, graph, returned)]:
            if taken[tensor.name] > 1:  # a sibling branch has a value of that name too
                name = unused_name(tensor.name, taken)
                _rename_inputs(graph, {tensor.name: name})
                tensor.name = name
                taken[name] += 1
            model.graph.initializer.append(tensor)


def _names(model: onnx.ModelProto) -> Counter[str]:
    """How many values of the model bear each name."""
    found: Counter[str] = Counter()
    for graph in graphs(model.graph):
        found.update(value.name for value in (*graph.input, *graph.initializer))
        found.update(name for node in graph.node for name in node.output)
    return found


def _from_nodes(graph: onnx.GraphProto, returned: set[str]) -> Iterator[onnx.TensorProto]:
    """Take out the Constant nodes, but for texts and sparse tensors and what the graph returns."""
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        if node.op_type == "Constant" and node.output[0] not in returned and (tensor := _value(node)) is not None:
            del graph.node[place]
            yield tensor


def _from_inside(model: onnx.ModelProto, graph: onnx.GraphProto, returned: set[str]) -> Iterator[onnx.TensorProto]:
    """Take the initializers out of an inner graph."""
    inner = graph.initializer if graph is not model.graph else ()
    for tensor in [tensor for tensor in inner if tensor.name not in returned]:
        graph.initializer.remove(tensor)
        yield tensor


def _value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant node holds, under the name of its output; None for what is no tensor of numbers."""
    (attribute,) = node.attribute
    if attribute.name == "value":
        tensor = onnx.TensorProto.FromString(attribute.t.SerializeToString())
    elif attribute.name in _LISTS:
        values = np.asarray(onnx.helper.get_attribute_value(attribute), _LISTS[attribute.name])
        tensor = numpy_helper.from_array(values)
    else:
        return None
    tensor.name = node.output[0]
    return tensor


def _skip_identities(model: onnx.ModelProto) -> None:
    """Who reads the Identity of an initializer reads the initializer; exporters share weights so."""
    constant = {tensor.name for tensor in model.graph.initializer}
    returned = {value.name for value in model.graph.output}
    renamed: dict[str, str] = {}
    for node in [node for node in model.graph.node if node.op_type == "Identity" and node.output[0] not in returned]:
        if (source := renamed.get(node.input[0], node.input[0])) in constant:
            renamed[node.output[0]] = source
            model.graph.node.remove(node)
    if renamed:
        _rename_inputs(model.graph, renamed)


def _rename_inputs(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    for node in (node for inner in graphs(graph) for node in inner.node):
        node.input[:] = [renamed.get(name, name) for name in node.input]


def _fold_reshaped(model: onnx.ModelProto) -> None:
    """A weight that is read through a Transpose or Reshape alone is stored as it is read."""
    graph, constant = model.graph, {tensor.name: tensor for tensor in model.graph.initializer}
    readers = Counter(name for node in nodes(model) for name in node.input)
    readers.update(value.name for inner in graphs(graph) for value in inner.output)
    for node in [node for node in graph.node if node.op_type in _RESHAPING]:
        weight = constant.get(node.input[0])
        known = all(name in constant for name in node.input if name)
        if weight is None or not known or len(weight.dims) < 2 or readers[weight.name] > 1 or _is_output(graph, node):
            continue
        feeds = {name: numpy_helper.to_array(constant[name]) for name in node.input if name}
        (folded,) = ReferenceEvaluator(node).run(None, feeds)
        graph.node.remove(node)
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(folded), node.output[0]))
        constant[weight.name] = weight


def _is_output(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    return any(value.name in node.output for value in graph.output)


def _share_equal(model: onnx.ModelProto) -> None:
    """Keep one of equal weights, as every call of a local function brings its own."""
    first: dict[tuple[object, ...], str] = {}
    renamed: dict[str, str] = {}
    returned = {value.name for inner in graphs(model.graph) for value in inner.output}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in returned]:
        key = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        if (name := first.setdefault(key, tensor.name)) != tensor.name:
            renamed[tensor.name] = name
            model.graph.initializer.remove(tensor)
    _rename_inputs(model.graph, renamed)

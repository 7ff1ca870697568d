"""Files of older opsets and of half precision, as the quantizers need them: ONNX's own converter, and float32 throughout."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from edgedl.errors import Unsupported
from edgedl_onnx.canonical import graphs, nodes

_OLDEST = 7
"""The opset from which weights can be stored in fewer bits without a conversion."""
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators that the model uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def upgraded(model: onnx.ModelProto, opset: int, scheme: str) -> onnx.ModelProto:
    """Return the model in this opset or a later one; Unsupported where ONNX's converter cannot do that."""
    if (present := opset_of(model)) >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unsupported(
            f"{scheme} needs ONNX opset {opset}, and this file of opset {present} cannot be converted: {first}; "
            f"export it again with opset {opset} or later{', or use --scheme w8' if present >= _OLDEST else ''}"
        ) from error


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in float32 what the model computes in half precision; inputs and outputs keep their dtypes. Edits `model`."""
    if not any(tensor.data_type in _HALF for tensor in model.graph.initializer):
        return model
    _cast_borders(model)
    for graph in graphs(model.graph):
        del graph.value_info[:]
        for tensor in graph.initializer:
            _widen(tensor)
        for value in (*graph.input, *graph.output) if graph is not model.graph else ():
            _widen_type(value)
    for attribute in (attribute for node in nodes(model) for attribute in node.attribute):
        _widen(attribute.t)
        if attribute.name in ("to", "dtype") and attribute.i in _HALF:
            attribute.i = TensorProto.FLOAT
    _cast_back(model)
    return model


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in _HALF:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen_type(value: onnx.ValueInfoProto) -> None:
    if value.type.tensor_type.elem_type in _HALF:
        value.type.tensor_type.elem_type = TensorProto.FLOAT


def _cast_borders(model: onnx.ModelProto) -> None:
    """Give the values at the border of the model, inside, names of their own."""
    half = [
        value.name for value in (*model.graph.input, *model.graph.output) if value.type.tensor_type.elem_type in _HALF
    ]
    inside = {name: f"{name}_float32" for name in half}
    for node in nodes(model):
        node.input[:] = [inside.get(name, name) for name in node.input]
        node.output[:] = [inside.get(name, name) for name in node.output]
    for value in (value for graph in graphs(model.graph) if graph is not model.graph for value in graph.output):
        value.name = inside.get(value.name, value.name)


def _cast_back(model: onnx.ModelProto) -> None:
    """Cast at the border, between the dtypes outside and float32 inside."""
    inputs = {value.name: value for value in model.graph.input}
    for name in (name for name, value in inputs.items() if value.type.tensor_type.elem_type in _HALF):
        model.graph.node.insert(
            0, helper.make_node("Cast", [name], [f"{name}_float32"], f"{name}_float32", to=TensorProto.FLOAT)
        )
    made = {name for node in model.graph.node for name in node.output}
    for value in [
        value for value in model.graph.output if value.name not in inputs and f"{value.name}_float32" in made
    ]:
        name, to = value.name, value.type.tensor_type.elem_type
        model.graph.node.append(helper.make_node("Cast", [f"{name}_float32"], [name], f"{name}_half", to=to))

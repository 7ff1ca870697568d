"""SmoothQuant: the spread of activations moves into the weights that they are multiplied by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgedl.balance import smoothing
from edgedl.exporter import Calibration
from edgedl.spec import Array
from edgedl_onnx.graph import to_array
from edgedl_onnx.linear import Linear, linears, replace
from edgedl_onnx.observe import Observer


def smooth(model: onnx.ModelProto, alpha: float, calibration: Calibration) -> int:
    """Edit `model` so that it computes the same from smoother activations; returns how many of them."""
    groups: dict[str, list[Linear]] = {}
    for linear in linears(model):
        if linear.node.op_type != "Conv":
            groups.setdefault(linear.node.input[0], []).append(linear)
    largest = _largest(Observer(model, list(groups)).values(calibration))
    for source, readers in groups.items():
        if source in largest:
            _move(model, source, readers, largest[source], alpha)
    return len(largest)


def _largest(values: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    """The largest magnitude of each channel, which is the last axis."""
    found: dict[str, Array] = {}
    for name, array in values:
        seen = np.abs(array).reshape(-1, array.shape[-1]).max(0)
        found[name] = np.maximum(found[name], seen) if name in found else seen
    return found


def _move(model: onnx.ModelProto, source: str, readers: list[Linear], largest: Array, alpha: float) -> None:
    weights = np.max([np.abs(linear.by_input()).max(1) for linear in readers], axis=0)
    factors = smoothing(largest, weights, alpha)
    for linear in readers:
        linear.scale_inputs(factors)
    norm = _norm_before(model, source, readers)
    if norm is not None:
        for tensor in norm:
            replace(tensor, to_array(tensor) / factors)
    else:
        _divide(model, source, readers, factors)


def _norm_before(model: onnx.ModelProto, source: str, readers: list[Linear]) -> list[onnx.TensorProto] | None:
    """The scale and shift of a layer normalisation that only these layers read, through a Reshape or not."""
    nodes = model.graph.node
    wanted = [linear.node for linear in readers]
    maker = next((node for node in nodes if source in node.output), None)
    while maker is not None and [n for n in nodes if maker.output[0] in n.input] == wanted:
        if maker.op_type == "LayerNormalization":
            constants = {tensor.name: tensor for tensor in model.graph.initializer}
            found = [constants.get(name) for name in maker.input[1:3]]
            users = [name for node in nodes for name in node.input]
            mine = [t for t in found if t is not None and users.count(t.name) == 1]
            return mine if len(mine) == len(maker.input) - 1 else None
        wanted, above = [maker], maker.input[0]
        maker = next((n for n in nodes if above in n.output), None) if maker.op_type == "Reshape" else None
    return None


def _divide(model: onnx.ModelProto, source: str, readers: list[Linear], factors: Array) -> None:
    name = f"{source}_smoothed"
    model.graph.initializer.append(numpy_helper.from_array((1 / factors).astype(np.float32), f"{name}_by"))
    place = min(list(model.graph.node).index(linear.node) for linear in readers)
    model.graph.node.insert(place, helper.make_node("Mul", [source, f"{name}_by"], [name], name))
    for linear in readers:
        linear.node.input[0] = name

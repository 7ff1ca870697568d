"""Reading ONNX files, and the few questions about a graph that several modules ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgedl.errors import InvalidArtifact
from edgedl.spec import Array
from edgedl_onnx.canonical import canonical, nodes

# operator -> positions of the inputs that hold weights
WEIGHTED = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (0, 1), "Gather": (0,),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2),
}  # fmt: skip


def read(path: Path) -> onnx.ModelProto:
    """Read the model in its canonical form; InvalidArtifact if the file is no whole ONNX model."""
    try:
        model = onnx.load(str(path))
    except Exception as error:
        raise InvalidArtifact(f"{path} is not a whole ONNX model: {str(error).splitlines()[0]}") from error
    if not model.graph.node and not model.graph.output:
        raise InvalidArtifact(f"{path} is not an ONNX model: it has no graph")
    try:
        return canonical(model)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidArtifact(f"{path} is a damaged ONNX model: {first}") from error


def weights(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Yield every (node, float initializer) where the initializer holds weights of the node, in inner graphs too."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in nodes(model):
        for position in WEIGHTED.get(node.op_type, ()):
            tensor = initializers.get(node.input[position]) if position < len(node.input) else None
            if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
                yield node, tensor


def to_array(tensor: onnx.TensorProto) -> Array:
    return np.asarray(numpy_helper.to_array(tensor))

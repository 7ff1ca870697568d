"""The inputs and outputs of an ONNX file, in its order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from edgedl.errors import EngineFailed, InvalidArtifact
from edgedl.spec import TensorSpec
from edgedl_pnnx.prepare import inferred

PNNX_TYPES = {"float32": "f32", "int32": "i32", "int64": "i64"}
"""dtype of an input -> how pnnx writes it; ncnn holds both integers in 32 bits"""
UNNAMED = "dynamic"
"""The name of every dynamic axis without one."""


def onnx_specs(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """(inputs, outputs); InvalidArtifact if it is no whole ONNX model, EngineFailed for a dtype that ncnn does not carry."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise InvalidArtifact(f"{path} is not a whole onnx model ({error}): export it again") from error
    if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        model = inferred(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value) for value in model.graph.input if value.name not in stored)
    outputs = tuple(map(_spec, model.graph.output))
    _check(path, inputs, PNNX_TYPES, "takes inputs")
    _check(path, outputs, ("float32",), "gives outputs")
    return inputs, outputs


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dims = (d.dim_value if d.HasField("dim_value") else d.dim_param or UNNAMED for d in tensor.shape.dim)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if tensor.elem_type else "nothing"
    return TensorSpec(value.name, tuple(dims), dtype)


def _check(path: Path, specs: Iterable[TensorSpec], known: Iterable[str], what: str) -> None:
    for spec in specs:
        if spec.dtype not in known:
            raise EngineFailed(f"{path} is not for ncnn, which {what} of {', '.join(known)}: {spec}")

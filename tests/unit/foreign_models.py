"""ONNX files as other tools write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F = TensorProto.FLOAT
node = helper.make_node


def values(*shape: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.2).astype(dtype)


def info(name: str, shape: list[int | str], dtype: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(array))


def model(
    nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto] | None = None, opset: int = 17, ir: int = 8, **more: object,
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers or [])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, **more)


def linear(
    *nodes: onnx.NodeProto, initializers: list[onnx.TensorProto] | None = None, **more: object
) -> onnx.ModelProto:
    """From x [N, 32] to y [N, 48]."""
    return model(list(nodes), [info("x", ["N", 32])], [info("y", ["N", 48])], initializers, **more)


def in_constant() -> onnx.ModelProto:
    return linear(constant("w", values(32, 48)), node("MatMul", ["x", "w"], ["y"]))


def behind_identity() -> onnx.ModelProto:
    initializers = [tensor("w", values(32, 48))]
    return linear(node("Identity", ["w"], ["v"]), node("MatMul", ["x", "v"], ["y"]), initializers=initializers)


def behind_transpose() -> onnx.ModelProto:
    initializers = [tensor("w", values(48, 32))]
    return linear(
        node("Transpose", ["w"], ["v"], perm=[1, 0]), node("MatMul", ["x", "v"], ["y"]), initializers=initializers
    )


def in_function() -> onnx.ModelProto:
    body = [constant("w", values(32, 48)), node("MatMul", ["a", "w"], ["b"])]
    function = helper.make_function("my", "Dense", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    return linear(node("Dense", ["x"], ["y"], domain="my"), functions=[function])


def in_branches() -> onnx.ModelProto:
    """The names of the values are the same in both branches, which ONNX allows."""

    def branch(name: str, seed: int, kind: str) -> onnx.GraphProto:
        nodes = [constant("w", values(32, 48, seed=seed)), node("MatMul", ["x", "w"], ["m"]), node(kind, ["m"], ["o"])]
        return helper.make_graph(nodes, name, [], [info("o", ["N", 48])])

    branches = {"then_branch": branch("then", 1, "Relu"), "else_branch": branch("else", 2, "Tanh")}
    positive = [node("ReduceMean", ["x"], ["mean"], keepdims=0), node("Greater", ["mean", "zero"], ["positive"])]
    zero = tensor("zero", np.float32(0))
    return linear(*positive, node("If", ["positive"], ["y"], **branches), initializers=[zero])


def in_loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [constant("w", values(48, 48, seed=3)), node("MatMul", ["state", "w"], ["m"]), node("Tanh", ["m"], ["after"]),
         node("Identity", ["go"], ["on"])],
        "body", [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("state", ["N", 48])],
        [info("on", [], TensorProto.BOOL), info("after", ["N", 48])],
    )  # fmt: skip
    initializers = [tensor("three", np.array(3)), tensor("yes", np.array(True)), tensor("first", values(32, 48))]
    nodes = [node("MatMul", ["x", "first"], ["h"]), node("Loop", ["three", "yes", "h"], ["y"], body=body)]
    return linear(*nodes, initializers=initializers)


def in_scan() -> onnx.ModelProto:
    """The body reads a weight of the graph around it."""
    body = helper.make_graph(
        [node("MatMul", ["row", "w"], ["m"]), node("Add", ["m", "before"], ["sum"]), node("Identity", ["sum"], ["each"])],
        "body", [info("before", [48]), info("row", [32])], [info("sum", [48]), info("each", [48])],
    )  # fmt: skip
    initializers = [tensor("w", values(32, 48)), tensor("start", np.zeros(48, np.float32))]
    return linear(node("Scan", ["start", "x"], ["end", "y"], body=body, num_scan_inputs=1), initializers=initializers)


def of_version_3(opset: int = 8) -> onnx.ModelProto:
    """A file of 2018: opset 8, every initializer is an input too."""
    weights = [
        tensor("w", values(16, 3, 3, 3)),
        tensor("b", values(16)),
        tensor("fc", values(10, 16)),
        tensor("fb", values(10)),
    ]
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]), node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "fc", "fb"], ["y"], transB=1),
    ]  # fmt: skip
    inputs = [info("x", [1, 3, 8, 8]), *(info(weight.name, list(weight.dims)) for weight in weights)]
    return model(nodes, inputs, [info("y", [1, 10])], weights, opset=opset, ir=3)


def of_halves() -> onnx.ModelProto:
    half = TensorProto.FLOAT16
    weights = [tensor("w", values(32, 64, dtype=np.float16)), tensor("v", values(64, 48, dtype=np.float16))]
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "v"], ["y"])]
    return model(nodes, [info("x", ["N", 32], half)], [info("y", ["N", 48], half)], weights)


HIDDEN: dict[str, Callable[[], onnx.ModelProto]] = {
    "constant": in_constant, "identity": behind_identity, "transpose": behind_transpose, "function": in_function,
    "branches": in_branches, "loop": in_loop, "scan": in_scan,
}  # fmt: skip


def saved(made: onnx.ModelProto, folder: Path, name: str = "net") -> Path:
    onnx.checker.check_model(made)
    path = folder / f"{name}.onnx"
    onnx.save(made, str(path))
    return path

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import Residual, floats, program, written

from edgedl import registry
from edgedl.errors import InvalidArtifact
from edgedl_onnx.describe import describe

F = TensorProto.FLOAT


def saved(path: Path, nodes: list[onnx.NodeProto], x: list[int | str], y: list[int], **weights: list[int]) -> Path:
    initializers = [helper.make_tensor(n, F, dims, bytes(4 * prod(dims)), raw=True) for n, dims in weights.items()]
    inputs, outputs = helper.make_tensor_value_info("x", F, x), helper.make_tensor_value_info("y", F, y)
    graph = helper.make_graph(nodes, "g", [inputs], [outputs], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    return path


def prod(dims: list[int]) -> int:
    total = 1
    for n in dims:
        total *= n
    return total


@pytest.mark.parametrize(
    ("node", "x", "y", "w", "macs"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4), [1, 3, 8, 6], [1, 5, 8, 6], [5, 3, 3, 3], 5 * 8 * 6 * 27),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4), [2, 4, 8, 8], [2, 4, 6, 6], [4, 1, 3, 3], 2 * 4 * 36 * 9),
        (helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2]), [1, 3, 9, 9], [1, 5, 4, 4], [5, 3, 3, 3], 5 * 16 * 27),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), [1, 3, 4, 4], [1, 5, 6, 6], [3, 5, 3, 3], 3 * 16 * 5 * 9),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), [2, 7, 4], [2, 7, 6], [4, 6], 2 * 7 * 4 * 6),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), [3, 4], [3, 6], [6, 4], 3 * 4 * 6),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), [4, 3], [3, 6], [4, 6], 3 * 4 * 6),
        (helper.make_node("Relu", ["x"], ["y"]), [3, 4], [3, 4], [1], 0),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), ["batch", 4], [1, 6], [4, 6], 4 * 6),
    ],
)  # fmt: skip
def test_macs_in_closed_form(
    tmp_path: Path, node: onnx.NodeProto, x: list[int | str], y: list[int], w: list[int], macs: int
) -> None:
    found = describe(saved(tmp_path / "net.onnx", [node], x, y, w=w))
    assert found.macs == macs
    assert found.parameters == prod(w)
    assert found.bytes_by_dtype == {"float32": 4 * prod(w)}
    assert found.operators == {node.op_type: 1}
    assert found.opset == 20


def test_a_whole_network(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    written(path, program(Residual(), {"image": floats(1, 3, 8, 8)}, {"image": {0: "batch"}}))
    found = describe(path)
    assert found.macs == 64 * (8 * 27 + 8 * 9 + 8 * 8) + 8 * 4
    assert str(found.inputs[0]) == "image: float32[batch, 3, 8, 8]"
    assert str(found.outputs[0]) == "output: float32[batch, 4]"


def test_mutated_files_give_a_description_or_one_error(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    written(path, program(Residual(), {"image": floats(1, 3, 8, 8)}))
    whole = path.read_bytes()
    generator, refused = random.Random(0), 0
    structure = [n for n in range(len(whole)) if n < 600 or n > len(whole) - 1500]
    for _ in range(400):
        mutant = bytearray(whole)
        for _ in range(generator.choice((1, 1, 4))):
            mutant[generator.choice(structure)] = generator.randrange(256)
        path.write_bytes(mutant if generator.random() < 0.8 else mutant[: generator.randrange(len(mutant))])
        try:
            describe(path)
        except InvalidArtifact as error:
            refused += 1
            assert "\n" not in str(error)
            assert str(path) in str(error)
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08", b"\x00" * 100, b"PK\x03\x04", b"TFL3" * 10, b"\xff" * 50])
def test_files_that_are_no_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(InvalidArtifact, match=r"net\.onnx"):
        registry.exporter("onnx").describe(tmp_path / "net.onnx")

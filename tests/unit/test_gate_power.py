"""benchmarks/gate_power.py: mistakes that matter are found to matter, and the table counts what the gate did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import helper, numpy_helper

import edgedl

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
sys.path.append(BENCHMARKS)

import gate_power  # noqa: E402 - found beside the script
from gate_networks import networks  # noqa: E402

from faults import onnx_faults  # noqa: E402


def test_there_are_enough_networks_and_each_is_the_same_at_each_call() -> None:
    names = [network.case.name for network in networks()]
    assert len(set(names)) == len(names) >= 20
    for network in networks():
        feeds = network.case.draw(1, {"batch": 3, "time": 9})
        a, b = (gate_power._independent.eager(network.case.module(), feeds) for _ in range(2))
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def graph(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """x and y of [3, 4] to `out`."""
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (3, 4)) for name in ("x", "y")]
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", ends, [out], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def result(content: bytes) -> Any:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x, "y": 2 + x**2})[0]


WEIGHT = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
MODELS = {
    "one weight": graph(helper.make_node("MatMul", ["x", "w"], ["out"]), w=WEIGHT),
    "one channel of weights": graph(helper.make_node("MatMul", ["x", "w"], ["out"]), w=WEIGHT),
    "swapped channels": graph(helper.make_node("MatMul", ["x", "w"], ["out"]), w=WEIGHT),
    "transposed weights": graph(helper.make_node("MatMul", ["x", "w"], ["out"]), w=WEIGHT),
    "bias dropped": graph(helper.make_node("Add", ["x", "b"], ["out"]), b=WEIGHT[0]),
    "activation dropped": graph(helper.make_node("Relu", ["x"], ["out"])),
    "slice or pad off by one": graph(
        helper.make_node("Slice", ["x", "a", "b", "c"], ["out"]), a=np.array([1]), b=np.array([3]), c=np.array([1])
    ),
    "part of a concatenation scaled": graph(helper.make_node("Concat", ["x", "y"], ["out"], axis=1)),
    "mask inverted": graph(helper.make_node("Greater", ["x", "y"], ["m"]), helper.make_node("Where", ["m", "x", "y"], ["out"])),
    "operands swapped": graph(helper.make_node("Sub", ["x", "y"], ["out"])),
    "wrong epsilon": graph(helper.make_node("LayerNormalization", ["x", "s"], ["out"], epsilon=1e-5), s=np.ones(4, np.float32)),
    "softmax over another axis": graph(helper.make_node("Softmax", ["x"], ["out"], axis=-1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_mistake_changes_what_the_file_computes_and_nothing_but_it(kind: str) -> None:
    content = MODELS[kind].SerializeToString()
    made = [changed for found, _, changed in onnx_faults.injected(content, 2, 0, None) if found == kind]
    assert made
    for changed in made:
        assert result(changed).shape == result(content).shape
        assert not np.allclose(result(changed), result(content), atol=1e-4)


def test_mistakes_in_tflite_files_run_and_change_them(tmp_path: Path, linear_task: edgedl.Task) -> None:
    from faults import tflite_faults

    (artifact,) = edgedl.export(linear_task, ["tflite"], tmp_path)
    feeds = {"x": np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)}
    right = gate_power._independent.engine(artifact.path)(feeds)["output"]
    found = {}
    for kind, _, content in tflite_faults.injected(artifact.path.read_bytes(), 1, 0, None):
        changed = tmp_path / "changed.tflite"
        changed.write_bytes(content)
        found[kind] = gate_power._independent.engine(changed)(feeds)["output"]
    assert {
        "one weight",
        "one channel of weights",
        "swapped channels",
        "bias dropped",
        "activation dropped",
    } <= found.keys()
    assert not any(np.allclose(output, right, atol=1e-4) for output in found.values())


def test_parts_are_judged_alone_and_channels_by_magnitude() -> None:
    want = np.concatenate([np.full((2, 4, 8), 300.0), np.full((2, 6, 8), 0.5)], 1).astype(np.float32)
    declared = gate_power.slices(want, ((1, 0, 4), (1, 4, 10)))
    assert [want[part].shape for part in declared] == [(2, 4, 8), (2, 6, 8)]
    rows = np.array([[500.0, 30.0, 400.0, 8.0, 1e-9]] * 3, np.float32)
    assert sorted(tuple(part[-1]) for part in gate_power.slices(rows, ())) == [(0, 2), (1, 3)]


def test_a_network_is_exported_broken_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_power, "QUANTIZED", ("w8",))
    torch.set_num_threads(1)
    journal, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    page.write_text("<!-- gate power -->\n<!-- end of gate power -->\n")
    words = [
        str(journal),
        "--only",
        "^mlp/onnx",
        "--seeds",
        "1",
        "--places",
        "1",
        "--workers",
        "1",
        "--write",
        str(page),
    ]
    done = CliRunner().invoke(gate_power.main, words)
    assert done.exit_code == 0, done.output
    rows = gate_power._journal.read(journal)
    exports = [row for row in rows.values() if row["kind"] == "export"]
    assert [row["verdict"] for row in exports] == ["accepted", "accepted"]
    assert all(row["effect"] < 1 for row in exports)
    faults = [row for row in rows.values() if "place" in row]
    assert len(faults) >= 10
    assert all(row["verdict"] == "refused" for row in faults if row["effect"] > 3)
    assert "| bias dropped | 2 |" in page.read_text()
    again = CliRunner().invoke(gate_power.main, words)
    assert gate_power._journal.read(journal) == rows, again.output

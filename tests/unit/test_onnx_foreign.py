"""ONNX files that other tools wrote: where their weights are, how old they are, and what is odd about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_models import (
    HIDDEN,
    constant,
    in_branches,
    in_constant,
    info,
    linear,
    model,
    node,
    of_halves,
    of_version_3,
    saved,
    tensor,
    values,
)  # fmt: skip
from onnx import TensorProto, helper

from edgedl.errors import InvalidArtifact, Unsupported
from edgedl.quantizing import quantize
from edgedl.registry import exporter
from edgedl.schemes import SCHEMES
from edgedl_onnx.describe import describe
from edgedl_onnx.layers import layers

NAMES = ("fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16")
LOOSE = {"fp16": 2e-3, "w4": 0.3}


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options).run(None, {"x": x})[0]


def error(got: np.ndarray, want: np.ndarray) -> float:
    difference = np.float64(got) - np.float64(want)
    return float(np.sqrt(np.mean(difference**2) / np.mean(np.float64(want) ** 2)))


def weight_bytes(path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in describe(path).ledger:
        found[line.dtype] = found.get(line.dtype, 0) + line.weights
    return {dtype: count for dtype, count in found.items() if count}


def quantized(source: Path, scheme: str) -> Path:
    """What the exporter writes, not proven."""
    path, (spec, *_) = source.with_suffix(f".{scheme}.onnx"), describe(source).inputs
    shape = [length if isinstance(length, int) else 5 for length in spec.shape]
    runs = [{"x": values(*shape, seed=seed).astype(spec.dtype)} for seed in range(20)]
    exporter("onnx").quantize(source, SCHEMES[scheme], lambda: runs, path)
    return path


def proven(source: Path, scheme: str) -> Path:
    return quantize(
        source, scheme, allow_slower=True, speed_check=False, random_calibration=SCHEMES[scheme].needs_calibration
    ).path


@pytest.mark.parametrize("place", HIDDEN)
def test_weights_are_counted_and_stored_in_8_bits_wherever_they_are(tmp_path: Path, place: str) -> None:
    source = saved(HIDDEN[place](), tmp_path)
    count = sum(np.prod(t.dims) for t in all_tensors(onnx.load(str(source))) if len(t.dims) > 1)
    assert weight_bytes(source) == {"float32": 4 * count}
    assert sum(layer.parameters for layer in layers(source)) == count
    made = quantized(source, "w8")
    assert weight_bytes(made) == {"int8": count}
    for sign in (1, -1):  # each takes another branch
        x = np.abs(values(5, 32, seed=9)) * np.float32(sign)
        assert 0 < error(outputs(made, x), outputs(source, x)) < 0.02


def all_tensors(whole: onnx.ModelProto) -> list[onnx.TensorProto]:
    def inside(nodes: object) -> list[onnx.TensorProto]:
        found = []
        for one in nodes:  # type: ignore[attr-defined]
            for attribute in one.attribute:
                found += [attribute.t] if attribute.name == "value" else []
                found += inside(attribute.g.node)
        return found

    functions = [found for function in whole.functions for found in inside(function.node)]
    return [*whole.graph.initializer, *inside(whole.graph.node), *functions]


@pytest.mark.parametrize("scheme", NAMES)
def test_every_scheme_narrows_the_weights_of_branches(tmp_path: Path, scheme: str) -> None:
    source = saved(in_branches(), tmp_path)
    made = quantized(source, scheme)
    assert made.stat().st_size < 0.65 * source.stat().st_size
    assert "float32" not in weight_bytes(made)
    for sign in (1, -1):
        x = np.abs(values(5, 32, seed=9)) * np.float32(sign)
        assert error(outputs(made, x), outputs(source, x)) < LOOSE.get(scheme, 0.03)


@pytest.mark.parametrize("scheme", NAMES)
@pytest.mark.parametrize("opset", [7, 8, 11])
def test_old_files_go_through_every_scheme(tmp_path: Path, scheme: str, opset: int) -> None:
    source = saved(of_version_3(opset), tmp_path)
    assert [spec.name for spec in describe(source).inputs] == ["x"]
    x = values(1, 3, 8, 8, seed=4)
    assert error(outputs(quantized(source, scheme), x), outputs(source, x)) < LOOSE.get(scheme, 0.05)


@pytest.mark.parametrize("scheme", ["w8", "w4", "w8a8-dynamic", "w8a8"])
def test_files_of_half_precision_keep_their_inputs_and_outputs(tmp_path: Path, scheme: str) -> None:
    source = saved(of_halves(), tmp_path)
    made = quantized(source, scheme)
    assert made.stat().st_size < 0.8 * source.stat().st_size
    assert [spec.dtype for spec in (*describe(made).inputs, *describe(made).outputs)] == ["float16", "float16"]
    x = values(5, 32, seed=9, dtype=np.float16)
    assert error(outputs(made, x), outputs(source, x)) < LOOSE.get(scheme, 0.03)


@pytest.mark.parametrize("scheme", NAMES)
def test_a_file_without_weights_is_refused_whatever_is_allowed(tmp_path: Path, scheme: str) -> None:
    source = saved(model([node("Relu", ["x"], ["y"])], [info("x", ["N", 4])], [info("y", ["N", 4])]), tmp_path)
    with pytest.raises(Unsupported, match=r"net\.onnx has no float(32)? weights to quantize"):
        proven(source, scheme)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("scheme", ["w4", "w8a8-dynamic"])
def test_a_scheme_that_would_leave_all_weights_in_float_is_refused(tmp_path: Path, scheme: str) -> None:
    made = model(
        [node("Conv", ["x", "w"], ["y"])],
        [info("x", [1, 3, 8, 8])],
        [info("y", [1, 8, 6, 6])],
        [tensor("w", values(8, 3, 3, 3))],
    )
    with pytest.raises(Unsupported, match=f"{scheme} leaves every weight of .* use --scheme w8"):
        proven(saved(made, tmp_path), scheme)


def test_a_function_that_is_called_twice_brings_its_weights_once(tmp_path: Path) -> None:
    body = [constant("w", values(32, 32)), node("MatMul", ["a", "w"], ["m"]), node("Relu", ["m"], ["b"])]
    function = helper.make_function("my", "Dense", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    calls = [node("Dense", ["x"], ["h"], domain="my"), node("Dense", ["h"], ["y"], domain="my")]
    source = saved(model(calls, [info("x", ["N", 32])], [info("y", ["N", 32])], functions=[function]), tmp_path)
    assert weight_bytes(source) == {"float32": 4 * 32 * 32}


def test_functions_that_multiply_without_end_are_refused(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    functions = [helper.make_function("my", "f0", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opset)]
    for level in range(1, 40):
        calls = [node(f"f{level - 1}", [["a", "m"][i]], [["m", "b"][i]], domain="my") for i in range(2)]
        functions.append(helper.make_function("my", f"f{level}", ["a"], ["b"], calls, opset))
    made = model([node("f39", ["x"], ["y"], domain="my")], [info("x", [4])], [info("y", [4])], functions=functions)
    path = tmp_path / "net.onnx"
    onnx.save(made, str(path))
    with pytest.raises(InvalidArtifact, match="local functions expand"):
        describe(path)


def test_odd_names_unused_weights_and_outputs_that_nothing_computes(tmp_path: Path) -> None:
    weights = [
        tensor("w 1", values(32, 64)),
        tensor("w/é", values(64, 48)),
        tensor("unused", values(99, 99)),
        tensor("table", values(4, 8)),
    ]
    nodes = [
        node("MatMul", ["x", "w 1"], ["h:0"]),
        node("Relu", ["h:0"], ["r:0"]),
        node("MatMul", ["r:0", "w/é"], ["y"]),
    ]
    source = saved(
        model(
            nodes, [info("x", ["N", 32])], [info("y", ["N", 48]), info("table", [4, 8]), info("x", ["N", 32])], weights
        ),
        tmp_path,
    )
    x = values(5, 32, seed=9)
    for scheme in NAMES:
        made = quantized(source, scheme)
        assert [spec.name for spec in describe(made).outputs] == ["y", "table", "x"]
        assert made.stat().st_size < 0.6 * (32 * 64 + 64 * 48) * 4
        assert error(outputs(made, x), outputs(source, x)) < LOOSE.get(scheme, 0.03)


def test_a_default_input_becomes_a_constant(tmp_path: Path) -> None:
    made = in_constant()
    whole = linear(node("MatMul", ["x", "w"], ["y"]), initializers=[tensor("w", values(32, 48))])
    whole.graph.input.append(info("w", [32, 48]))
    source = saved(whole, tmp_path)
    assert [spec.name for spec in describe(source).inputs] == ["x"] == [value.name for value in made.graph.input]
    assert weight_bytes(quantized(source, "w8a8")) == {"int8": 32 * 48}


def test_weights_outside_of_the_file(tmp_path: Path) -> None:
    made = linear(node("MatMul", ["x", "w"], ["y"]), initializers=[tensor("w", values(32, 48))])
    path = tmp_path / "net.onnx"
    onnx.save(made, str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    assert weight_bytes(quantized(path, "w8")) == {"int8": 32 * 48}


def test_macs_of_branches_and_of_a_scan(tmp_path: Path) -> None:
    assert describe(saved(in_branches(), tmp_path)).macs == 32 * 48
    assert describe(saved(HIDDEN["scan"](), tmp_path)).macs == 32 * 48
    assert describe(saved(HIDDEN["loop"](), tmp_path)).macs is None


def test_a_gru_without_bias_of_an_old_opset(tmp_path: Path) -> None:
    hidden = 384
    weights = [tensor("w", values(1, 3 * hidden, 8)), tensor("r", values(1, 3 * hidden, hidden) * np.float32(0.1))]
    nodes = [node("GRU", ["x", "w", "r"], ["y"], hidden_size=hidden, linear_before_reset=1), node("Relu", ["y"], ["z"])]
    made = model(nodes, [info("x", ["T", 1, 8])], [info("z", ["T", 1, 1, hidden])], weights, opset=12)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    source, x = saved(made, tmp_path), values(6, 1, 8, seed=2)
    with pytest.raises(Unsupported, match="w8a8-dynamic leaves every weight"):
        proven(source, "w8a8-dynamic")
    assert error(outputs(quantized(source, "w8"), x), outputs(source, x)) < 0.03


def test_two_nodes_of_one_name(tmp_path: Path) -> None:
    """ONNX allows them, and onnxruntime refuses to load them."""
    nodes = [node("MatMul", ["x", "w"], ["h"], name="same"), node("Relu", ["h"], ["y"], name="same")]
    made = proven(saved(linear(*nodes, initializers=[tensor("w", values(32, 48))]), tmp_path), "w8")
    assert weight_bytes(made) == {"int8": 32 * 48}

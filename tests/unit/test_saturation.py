"""Sums of pairs that leave 16 bits: the bound, the emulation, and what is found in ONNX files.

The emulation was held against ONNX Runtime's own AVX2 kernels (valgrind shows no VNNI): docs/decisions/0042-saturation-guard.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import edgedl
from edgedl import QuantizationOptions, Task, registry
from edgedl.errors import InvalidArtifact
from edgedl.program import program_of
from edgedl.saturation import PairSums, Saturation, can_leave, instruction_set, lost
from edgedl.schemes import SCHEMES
from edgedl.spec import Array
from edgedl_onnx.products import products
from edgedl_onnx.saturation import saturation

ENGINE = "ONNX Runtime"


def emulated(activations: Array, weights: Array) -> Array:
    """VPMADDUBSW, written as plainly as can be."""
    sums = np.zeros((len(activations), weights.shape[1]), np.int64)
    for k in range(0, len(weights), 2):
        pair = activations[:, k : k + 2].astype(np.int64) @ weights[k : k + 2].astype(np.int64)
        sums += np.clip(pair, -32768, 32767)
    return sums


@st.composite
def products_of(draw: st.DrawFn) -> tuple[Array, Array, int, int]:
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    rows, inputs, outputs = draw(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 5)))
    activations = draw(arrays.arrays(np.uint8, (rows, inputs), elements=st.integers(low, high)))
    weights = draw(arrays.arrays(np.int8, (inputs, outputs), elements=st.integers(-128, 127)))
    return activations, weights, low, high


@settings(max_examples=200)
@given(products_of())
def test_what_the_bound_calls_safe_never_saturates(made: tuple[Array, Array, int, int]) -> None:
    activations, weights, low, high = made
    risky = can_leave(weights, min(low, 0), high)  # an odd input is beside a zero
    exact = activations.astype(np.int64) @ weights.astype(np.int64)
    assert np.array_equal(exact + lost(activations, weights, risky), emulated(activations, weights))
    assert not (emulated(activations, weights) - exact)[:, ~risky.any(0)].any()


@settings(max_examples=100)
@given(arrays.arrays(np.int8, (4, 3), elements=st.integers(-128, 127)))
def test_what_the_bound_calls_risky_can_saturate(weights: Array) -> None:
    ends = np.concatenate([255 * (weights.T > 0), 255 * (weights.T < 0)]).astype(np.uint8)
    seen = lost(ends, weights, np.ones((2, 3), bool)) != 0
    assert np.array_equal(can_leave(weights, 0, 255).any(0), np.diagonal(seen[:3]) | np.diagonal(seen[3:]))


@given(arrays.arrays(np.int8, (6, 3), elements=st.integers(-64, 64)))
def test_seven_bits_are_always_safe(weights: Array) -> None:
    assert not can_leave(weights, 0, 255).any()


def test_a_narrower_range_of_activations_is_safer() -> None:
    weights = np.array([[100], [100]], np.int8)
    assert can_leave(weights, 0, 255).all()
    assert not can_leave(weights, 0, 163).any()


class Net(nn.Module):
    """Convolutions of every kind, then a linear layer. share: of the weights that are as large as any."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, stride=2, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.linear = nn.Linear(8, 4)
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            large = torch.rand(weight.shape, generator=generator) < share
            other = torch.rand(weight.shape, generator=generator) * 0.001
            weight.data.copy_(torch.where(large, 0.2 * torch.ones(weight.shape), other))
            weight.data.reshape(len(weight), -1)[:, 0] = 0.2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.grouped(torch.relu(self.first(x))))
        result: torch.Tensor = self.linear(torch.relu(self.depthwise(x)).mean((2, 3)))
        return result


def inputs() -> dict[str, Array]:
    bright = np.ones((2, 3, 9, 9), np.float32)
    return {"x": np.concatenate([bright, np.random.default_rng(0).random((6, 3, 9, 9), dtype=np.float32)])}


def int8(
    folder: Path,
    module: nn.Module,
    scheme: str = "w8a8",
    feeds: Callable[[], dict[str, Array]] = inputs,
    **options: Any,
) -> Path:
    exporter, path = registry.exporter("onnx"), folder / f"q.{scheme}.onnx"
    task = Task("net", lambda: module, lambda: {"x": feeds()["x"][:1]}, {"x": {0: "batch"}}, ("y",))
    exporter.export(program_of(task, module.eval()), folder / "net.onnx")
    exporter.quantize(folder / "net.onnx", SCHEMES[scheme], lambda: [feeds()], path, QuantizationOptions(**options))
    return path


def by_kind(found: Saturation) -> dict[str, list[PairSums]]:
    kinds: dict[str, list[PairSums]] = {}
    for layer in found.layers:
        kinds.setdefault(layer.operator, []).append(layer)
    return kinds


def test_layers_that_saturate_are_confirmed_and_mended(tmp_path: Path) -> None:
    path = int8(tmp_path, Net(0.9))
    found = saturation(path, lambda: [inputs()])
    kinds = by_kind(found)
    assert [len(kinds["Conv"]), len(kinds["Gemm"])] == [2, 1]  # the depthwise one is not paired
    assert [layer.channels for layer in kinds["Conv"]] == [8, 8]
    assert len(found.confirmed) == 3
    assert all(layer.error > 0.1 and layer.saturated <= (layer.outputs or 0) for layer in found.confirmed)
    assert found.by_instruction_set["AVX2"] == "saturates"
    assert found.by_instruction_set["ARM dot product"] == "exact"
    names = {layer.name for layer in registry.exporter("onnx").layers(tmp_path / "net.onnx")}
    assert {layer.layer for layer in found.layers} < names
    mended = saturation(
        int8(tmp_path, Net(0.9), narrow=tuple(layer.layer for layer in found.confirmed)), lambda: [inputs()]
    )
    assert (mended.confirmed, mended.possible) == ((), ())


def test_small_weights_cannot_saturate(tmp_path: Path) -> None:
    found = saturation(int8(tmp_path, Net(0.0)), None)
    assert (len(found.layers), found.possible, found.confirmed) == (
        2,
        (),
        (),
    )  # the last stays in float: its result hardly varies
    assert found.by_instruction_set["AVX2"] == "exact"
    assert "no sum of 2 integer layers can leave 16 bits" in found.sentence


def test_without_inputs_only_the_bound_is_told(tmp_path: Path) -> None:
    found = saturation(int8(tmp_path, Net(0.9)), None)
    assert [layer.outputs for layer in found.layers] == [None] * 3
    assert (len(found.possible), found.confirmed) == (3, ())
    assert "not tried on inputs" in found.sentence


def test_dark_inputs_leave_it_at_possible(tmp_path: Path) -> None:
    path = int8(tmp_path, Net(0.9))
    found = saturation(path, lambda: [{"x": 0.01 * inputs()["x"]}])
    first = found.layers[0]
    assert (first.at_risk, first.saturated, first.error) == (0, 0, 0.0)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(8, 12, batch_first=True, bidirectional=True), nn.Linear(24, 16)
        for weight in self.parameters():
            weight.data = torch.where(torch.arange(weight.numel()).reshape(weight.shape) % 5 > 0, 0.2, -0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(self.lstm(x)[0])
        return result


def steps() -> dict[str, Array]:
    return {"x": np.random.default_rng(0).random((4, 6, 8), dtype=np.float32)}


def test_dynamic_layers(tmp_path: Path) -> None:
    path = int8(tmp_path, Recurrent(), "w8a8-dynamic", steps)
    found = saturation(path, lambda: [steps()])
    assert [layer.operator for layer in found.layers] == ["LSTM", "MatMul"]
    assert found.layers[0].channels == 2 * 2 * 4 * 12  # directions, input and state, gates x hidden
    assert len(found.confirmed) == 2
    names = tuple(layer.layer for layer in found.confirmed)
    mended = int8(tmp_path, Recurrent(), "w8a8-dynamic", steps, narrow=names)
    assert not saturation(mended, lambda: [steps()]).possible
    with edgedl.load(path) as wide, edgedl.load(mended) as narrow:
        want, got = (session.run(steps())["y"] for session in (wide, narrow))
    assert np.abs(want - got).max() < 0.02 * np.abs(want).max()


def test_both_products_of_an_int8_gru_are_mended_by_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.GRU(16, 384, batch_first=True, bidirectional=True)
    for weight in network.parameters():
        weight.data = torch.where(torch.rand_like(weight) > 0.5, 0.08, -0.08)
    task = Task("gru", lambda: network, lambda: {"x": np.ones((1, 4, 16), np.float32)}, outputs=("states", "last"))
    source = edgedl.export(task, ["onnx"], tmp_path)[0]
    (found,) = before = registry.exporter("onnx").layers(source.path)
    layer = found.name
    plain = edgedl.quantize(source, "w8a8-dynamic", task=task, allow_slower=True)
    after = registry.exporter("onnx").layers(plain.path)
    assert [replace(one, output="") for one in after] == [replace(one, output="") for one in before]
    assert [found.layer for found in saturation(plain.path, None).possible] == [layer]
    narrow = QuantizationOptions(narrow=("auto",))
    mended = edgedl.quantize(source, "w8a8-dynamic", task=task, allow_slower=True, force=True, options=narrow)
    assert mended.manifest
    assert mended.manifest.provenance["options"]["narrow"] == (layer,)
    assert saturation(mended.path, None).possible == ()


def integers(kind: str, activations: Iterable[str], weights: type, **attributes: Any) -> onnx.ModelProto:
    """A file of one integer operator, as other quantizers write it."""
    weight = np.full((4, 6) if kind == "MatMulInteger" else (4, 6, 1, 1), 127, weights)
    shape = [2, 4] if kind == "MatMulInteger" else [2, 6, 3, 3]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, shape)
    y = helper.make_tensor_value_info("y", TensorProto.INT32, None)
    node = helper.make_node(kind, list(activations), ["y"], "product", **attributes)
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["MatMulInteger", "ConvInteger"])
@pytest.mark.parametrize(("weights", "layers"), [(np.int8, 1), (np.uint8, 0)])
def test_files_of_other_quantizers(tmp_path: Path, kind: str, weights: type, layers: int) -> None:
    model = integers(kind, ["x", "w"], weights)
    onnx.save(model, str(tmp_path / "other.onnx"))
    shape = (2, 4) if kind == "MatMulInteger" else (2, 6, 3, 3)
    found = saturation(tmp_path / "other.onnx", lambda: [{"x": np.full(shape, 255, np.uint8)}])
    assert len(found.layers) == layers
    assert [(layer.layer, layer.saturated > 0) for layer in found.layers] == [("product", True)] * layers


def test_weights_alone_are_no_integer_product(tmp_path: Path) -> None:
    assert saturation(int8(tmp_path, Net(0.9), "w8"), None).layers == ()


def test_a_damaged_file(tmp_path: Path) -> None:
    model = integers("ConvInteger", ["x", "w"], np.int8, group=3)
    onnx.save(model, str(tmp_path / "damaged.onnx"))
    with pytest.raises(InvalidArtifact, match="damaged"):
        saturation(tmp_path / "damaged.onnx", None)
    assert list(products(onnx.ModelProto())) == []


def test_litert_adds_in_32_bits(tmp_path: Path) -> None:
    found = registry.exporter("tflite").saturation(tmp_path / "any.tflite", None)
    assert (found.layers, found.by_instruction_set["AVX2"]) == ((), "exact")
    assert found.sentence.startswith("none: ")


def test_a_verdict_survives_json() -> None:
    layers = (PairSums("a", "Conv", 8, 2, 100, 5, 0.125), PairSums("b", "Gemm", 4, 1))
    verdict = Saturation(layers, ENGINE)
    assert Saturation.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert (verdict.confirmed, verdict.possible) == (layers[:1], layers[1:])
    for told in ({}, {"layers": [{"layer": "a"}], "engine": "", "exact": ""}, {"layers": 3, "engine": "", "exact": ""}):
        with pytest.raises(InvalidArtifact, match="saturation"):
            Saturation.from_dict(told)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("avx2", "avx512f", "avx512_vnni"), "AVX512-VNNI"), (("avx2", "avx_vnni"), "AVX-VNNI"), (("avx2",), "AVX2 without VNNI"),
        (("avx2", "avx512f"), "AVX512 without VNNI"), (("asimd", "asimddp"), "ARM dot product"), (("asimd",), "NEON"), ((), ""),
    ],
)  # fmt: skip
def test_what_a_processor_has(flags: tuple[str, ...], name: str) -> None:
    assert instruction_set(flags) == name

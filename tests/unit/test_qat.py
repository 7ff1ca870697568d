"""Quantization-aware training: the files agree with what was trained to one step of rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_models import floats
from torch import nn

import edgedl
from edgedl import Task, registry
from edgedl.errors import GateFailed, InvalidInput, UnknownName, Unsupported
from edgedl.exporting import eager
from edgedl.program import program_of
from edgedl.schemes import SCHEMES
from edgedl.task import Predict, Progress, Score
from edgedl.verify.parity import relative_rms

pytest.importorskip("torchao")

from edgedl.qat.agreement import NEAREST, agreement
from edgedl.qat.quantize import quantize_aware
from edgedl.qat.train import Trained, fine_tune


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits


class Cnn(nn.Module):
    """Batch normalisation, ReLU6, a depthwise convolution, a residual sum, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.depthwise, self.norm2 = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16)
        self.point, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.norm(self.stem(x)))
        x = x + self.point(torch.relu(self.norm2(self.depthwise(x))))
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


class Gated(nn.Module):
    """What writes between fixed bounds, read by an integer product."""

    def __init__(self) -> None:
        super().__init__()
        self.values, self.gates, self.shares = nn.Linear(12, 16), nn.Linear(12, 16), nn.Linear(12, 16)
        self.head = nn.Linear(16, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gated = torch.tanh(self.values(x)) * torch.sigmoid(self.gates(x))
        logits: torch.Tensor = self.head(gated * torch.softmax(self.shares(x), -1))
        return logits


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "mlp": (Mlp, (12,)), "cnn": (Cnn, (3, 8, 8)), "gated": (Gated, (12,)),
}  # fmt: skip


def data(kind: str) -> np.ndarray:
    return floats(128, *NETWORKS[kind][1])


def fit(kind: str, steps: int = 20) -> Callable[[nn.Module, int, Progress], nn.Module]:
    def train(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
        x, labels = torch.from_numpy(data(kind)), torch.arange(128) % 6
        module.train()
        optimizer = torch.optim.Adam(module.parameters(), 2e-3)
        for step in range(steps):
            rows = torch.arange(32) + 32 * (step % 4)
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), labels[rows]).backward()
            optimizer.step()
            progress(step + 1, steps)
        return module.eval()

    return train


def task(kind: str) -> Task:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return NETWORKS[kind][0]()

    return Task(
        kind,
        model,
        lambda: {"x": data(kind)[:1]},
        {"x": {0: "batch"}},
        ("y",),
        lambda: [{"x": data(kind)}],
        fit=fit(kind),
    )


@pytest.fixture(scope="module")
def trained() -> Callable[[str], Trained]:
    made: dict[str, Trained] = {}

    def get(kind: str) -> Trained:
        if kind not in made:
            made[kind] = fine_tune(task(kind), 0, lambda done, total: None)
        return made[kind]

    return get


@pytest.fixture(scope="module")
def file(trained: Callable[[str], Trained], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The file of (network, format); each is made once."""
    folder = tmp_path_factory.mktemp("qat")

    def get(kind: str, format: str) -> Path:
        path = folder / f"{kind}.{format}"
        if not path.exists():
            registry.exporter(format).export(trained(kind).integers, path)
        return path

    return get


def step_of(values: np.ndarray) -> float:
    """The distance between neighbouring values of an output that is rounded to a grid."""
    levels = np.unique(values)
    gaps = np.diff(levels)
    return float(gaps[gaps > 1e-3 * gaps.max()].min())


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_file_is_the_trained_model_to_one_step(
    trained: Callable[[str], Trained], file: Callable[[str, str], Path], kind: str, format: str
) -> None:
    path = file(kind, format)
    want = eager(trained(kind).integers)({"x": data(kind)})["y"]
    with edgedl.load(path, threads=1) as session:
        got = session.run({"x": data(kind)})["y"]
    steps = np.abs(got - want) / step_of(want)
    assert steps.max() <= 1.01
    assert (steps > 0.5).mean() < 0.05
    narrow = registry.exporter(format).describe(path).bytes_by_dtype
    assert narrow["int8"] >= sum(p.numel() for n, p in task(kind).model().named_parameters() if p.dim() > 1)


@pytest.mark.parametrize("kind", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def test_explicit_operators_compute_what_was_trained(trained: Callable[[str], Trained], kind: str) -> None:
    outputs = [eager(program)({"x": data(kind)})["y"] for program in (trained(kind).fake, trained(kind).integers)]
    steps = np.abs(outputs[0] - outputs[1]) / step_of(outputs[0])
    assert steps.max() <= 1.01 and (steps > 0.5).mean() < 0.1  # biases are rounded in one alone
    assert len(np.unique(outputs[0])) <= 256


def test_biases_are_multiples_of_the_scales_of_what_they_are_added_to(trained: Callable[[str], Trained]) -> None:
    """One bias, read with inputs of two scales, becomes two."""
    graphs = (part for part in trained("cnn").integers.module.modules() if isinstance(part, torch.fx.GraphModule))
    biases = {name: value for graph in graphs for name, value in graph.named_buffers() if "rounded_bias" in name}
    assert len(biases) == 4  # three convolutions and the head


def test_a_file_is_held_to_what_the_model_does_itself_when_it_is_nudged(trained: Callable[[str], Trained]) -> None:
    integers, feeds = trained("cnn").integers, [{"x": data("cnn")}]
    scheme = SCHEMES["w8a8"].tolerance
    assert agreement(integers, feeds, scheme) == NEAREST  # short, and as exact as before

    class Chaotic(nn.Module):
        """Blows up what is rounded: a step becomes thirty."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(torch.sin(30 * y) for y in self.module(x))

    wild = replace(integers, module=Chaotic(integers.module))
    assert NEAREST < agreement(wild, feeds, scheme) <= scheme.relative_rms
    assert agreement(wild, feeds, scheme) == agreement(wild, feeds, scheme)


def test_another_network_is_no_agreement(
    trained: Callable[[str], Trained], file: Callable[[str, str], Path], tmp_path: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(file("cnn", "onnx"))
    scale = next(t for t in model.graph.initializer if t.dims == [16] and t.data_type == onnx.TensorProto.FLOAT)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.3), scale.name))
    onnx.save(model, tmp_path / "net.onnx")
    want = eager(trained("cnn").integers)({"x": data("cnn")})["y"]
    with edgedl.load(tmp_path / "net.onnx", threads=1) as session:
        got = session.run({"x": data("cnn")})["y"]
    allowed = agreement(trained("cnn").integers, [{"x": data("cnn")}], SCHEMES["w8a8"].tolerance)
    assert relative_rms(got, want) > allowed


def test_the_tflite_file_computes_in_integers_alone(file: Callable[[str, str], Path]) -> None:
    description = registry.exporter("tflite").describe(file("cnn", "tflite"))
    assert (description.operators["QUANTIZE"], description.operators["DEQUANTIZE"]) == (1, 1)
    assert set(description.bytes_by_dtype) == {"int8", "int32"}
    assert [spec.dtype for spec in (*description.inputs, *description.outputs)] == ["float32", "float32"]


def test_activations_of_the_onnx_file_are_unsigned(file: Callable[[str, str], Path]) -> None:
    import onnx

    graph = onnx.load(file("cnn", "onnx")).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    zeros = {types[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {onnx.TensorProto.UINT8}


def test_artifacts_are_proven_and_say_how_they_came_about(tmp_path: Path) -> None:
    (artifact,) = quantize_aware(task("mlp"), out=tmp_path)
    assert artifact.manifest
    assert artifact.manifest.provenance["qat"] == {"seed": 0}
    assert artifact.manifest.evidence["passed"]
    assert "trained with the rounding" in artifact.manifest.evidence["reference"]
    with pytest.raises(InvalidInput, match="--force"):
        quantize_aware(task("mlp"), out=tmp_path)
    with pytest.raises(InvalidInput, match="fine-tuned"):
        from edgedl.verifying import verify

        verify(artifact.path, task("mlp"))


def test_a_score_that_fell_closes_the_gate(tmp_path: Path) -> None:
    want = eager(program_of(task("mlp"), task("mlp").model()))({"x": data("mlp")})["y"]

    def evaluate(predict: Predict) -> Score:
        return Score("sameness", -float(np.abs(predict({"x": data("mlp")})["y"] - want).mean()))

    with pytest.raises(GateFailed, match="sameness falls"):
        quantize_aware(replace(task("mlp"), evaluate=evaluate), out=tmp_path)


class Twins(nn.Module):
    """One tower with a normalisation, over both halves of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 6)
        nn.init.constant_(self.tower[1].weight, 4.0)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        codes = [self.tower(half).mean((2, 3)) for half in (x[..., :4], x[..., 4:])]
        logits: torch.Tensor = self.head(codes[0] * codes[1])
        return logits


def test_a_tower_that_is_called_twice_is_refused(tmp_path: Path) -> None:
    """torchao folds the normalisation into the one weight for each call."""
    twins = replace(task("cnn"), model=Twins, fit=lambda module, seed, progress: called_with(module, data("cnn")))
    with pytest.raises(Unsupported, match="another model once torchao has converted it"):
        quantize_aware(twins, out=tmp_path)


class Masked(nn.Module):
    """Looks into the mask in training, which no trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.unflatten(1, (3, 4)).repeat(1, 1, 2)
        y: torch.Tensor = self.layer(steps, steps, tgt_mask=torch.triu(torch.full((3, 3), float("-inf")), 1))
        return y


def test_weights_that_are_cut_out_of_a_packed_one_are_stored_as_integers() -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from edgedl_onnx import integers

    packed, scale = floats(8, 4), np.full(4, 0.01, np.float32)
    constants = {
        "packed": packed, "lengths": np.array([4, 4]), "scale": scale, "zero": np.zeros(4, np.int8),
        "low": np.array(-127, np.int8), "high": np.array(127, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("Split", ["packed", "lengths"], ["first", "second"], axis=0),
        helper.make_node("QuantizeLinear", ["second", "scale", "zero"], ["q"], axis=0),
        helper.make_node("Clip", ["q", "low", "high"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "scale", "zero"], ["w"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], tensors))
    integers.store(model)
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "MatMul"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert set(stored) == {"c", "scale", "zero"}
    np.testing.assert_array_equal(stored["c"], np.clip(np.rint(packed[4:] / 0.01), -127, 127))
    onnx.checker.check_model(model)


@pytest.mark.slow
def test_attention_with_a_causal_mask_and_packed_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    masked = replace(task("mlp"), model=Masked, fit=lambda module, seed, progress: called_once(module))
    program = fine_tune(masked, 0, lambda done, total: None)
    exporter, path = registry.exporter("onnx"), tmp_path / "net.onnx"
    exporter.export(program.integers, path)
    with edgedl.load(path, threads=1) as session:
        got, want = session.run({"x": data("mlp")})["y"], eager(program.fake)({"x": data("mlp")})["y"]
    assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < 0.15
    weights = sum(p.numel() for name, p in Masked().named_parameters() if p.dim() > 1)
    assert exporter.describe(path).bytes_by_dtype["int8"] >= weights


def called_once(module: nn.Module) -> nn.Module:
    return called_with(module, data("mlp"))


def called_with(module: nn.Module, rows: np.ndarray) -> nn.Module:
    module(torch.from_numpy(rows))
    return module


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) if x.sum() > 0 else self.linear(-x)


def needing_attributes(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
    return module.layers  # type: ignore[return-value]


def test_refusals(tmp_path: Path) -> None:
    good = task("mlp")
    for wrong, words in (
        (replace(good, fit=None), "has no fit"),
        (replace(good, model=Odd), "no convolution and no linear layer"),
        (
            replace(good, model=Branching),
            "cannot be traced for training: the control flow or a shape depends on the values",
        ),
        (replace(good, fit=needing_attributes), "let fit call the module alone"),
    ):
        with pytest.raises(InvalidInput, match=words):
            quantize_aware(wrong, out=tmp_path)
    with pytest.raises(Unsupported, match="not for fp16"):
        quantize_aware(good, "fp16", out=tmp_path)
    with pytest.raises(UnknownName, match="w8a8"):
        quantize_aware(good, "w8a9", out=tmp_path)
    assert not list(tmp_path.iterdir())

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx_models import Function, Residual, floats, program, shapes, written
from torch import nn

import edgedl
from edgedl import Axis
from edgedl.errors import Unsupported
from edgedl_onnx.export import OPSET, export


def run(path: Path, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def test_dynamic_axes_are_kept_and_named(path: Path) -> None:
    made = program(Residual(), {"image": floats(1, 3, 8, 8)}, {"image": {0: "batch", 2: "height"}})
    model = written(path, made)
    assert shapes(model.graph.input) == {"image": ["batch", 3, "height", 8]}
    assert shapes(model.graph.output) == {"output": ["batch", 4]}
    for batch, height in ((1, 8), (5, 20)):
        image = floats(batch, 3, height, 8)
        with torch.no_grad():
            (want,) = made.module(torch.from_numpy(image))
        assert np.allclose(run(path, image=image)[0], want.numpy(), atol=1e-5)


def test_an_axis_shared_by_two_inputs_and_an_expression_of_it(path: Path) -> None:
    module = Function(lambda m, a, b: torch.cat([m.linear(a), b]))
    made = program(module, {"a": floats(3, 4), "b": floats(3, 4)}, {"a": {0: "rows"}, "b": {0: "rows"}})
    model = written(path, made)
    assert shapes(model.graph.input) == {"a": ["rows", 4], "b": ["rows", 4]}
    assert shapes(model.graph.output) == {"output": ["2*rows", 4]}


def test_one_file_that_the_checker_takes_and_no_paths_of_this_machine(path: Path) -> None:
    model = written(path, program(Residual(), {"image": floats(1, 3, 8, 8)}))
    onnx.checker.check_model(model, full_check=True)
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    assert {entry.version for entry in model.opset_import if entry.domain == ""} == {OPSET}
    assert b"/site-packages/" not in path.read_bytes()
    assert str(Path(__file__).parent).encode() not in path.read_bytes()


def test_the_same_program_gives_the_same_bytes(path: Path) -> None:
    export(program(Residual(), {"image": floats(1, 3, 8, 8)}), path)
    once = path.read_bytes()
    torch.manual_seed(0)
    module = Residual()
    export(program(module, {"image": floats(1, 3, 8, 8)}), path)
    export(program(module, {"image": floats(1, 3, 8, 8)}), path.with_name("again.onnx"))
    assert path.read_bytes() == path.with_name("again.onnx").read_bytes()
    assert len(once) == len(path.read_bytes())


def test_the_operators_are_read_once_in_a_process(path: Path) -> None:
    from torch.onnx._internal._lazy_import import onnxscript_apis

    for _ in range(2):
        export(program(Residual(), {"image": floats(1, 3, 8, 8)}), path)
    assert onnxscript_apis.get_torchlib_ops.cache_info().misses == 1


def test_channels_last(path: Path) -> None:
    made = program(Residual(), {"image": floats(2, 3, 8, 6)}, {"image": {0: "batch"}}, channels_last=True)
    model = written(path, made)
    assert shapes(model.graph.input) == {"image": ["batch", 8, 6, 3]}
    image = floats(3, 3, 8, 6)
    with torch.no_grad():
        (want,) = made.module(torch.from_numpy(image))
    assert np.allclose(run(path, **made.laid_out({"image": image}))[0], want.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "inputs", "outputs"),
    [
        (lambda m, x: {"logits": m.linear(x), "more": {"a": x * 2}}, {"x": floats(2, 4)}, ["logits", "more_a"]),
        (lambda m, x: (m.linear(x), x), {"x": floats(2, 4)}, ["output_0", "output_1"]),
        (lambda m, x: (lambda y: (y, y))(m.linear(x)), {"x": floats(2, 4)}, ["output_0", "output_1"]),
        (lambda m, x: m.linear(x).argmax(1), {"x": floats(2, 4)}, ["output"]),
        (lambda m, x: m.linear(x).sum(), {"x": floats(2, 4)}, ["output"]),
        (lambda m, x, t: m.linear(x) * t, {"x": floats(2, 4), "t": np.array(3, np.float32)}, ["output"]),
        (lambda m, n: m.linear.weight[n], {"n": np.array([0, 3, 1])}, ["output"]),
        (lambda m, x, k: m.linear(x).masked_fill(k, 0), {"x": floats(2, 4), "k": floats(2, 4) > 0}, ["output"]),
        (lambda m, linear, relu: torch.relu(m.linear(linear)) + relu, {"linear": floats(2, 4), "relu": floats(2, 4)}, ["output"]),
        (lambda m, *x: m.linear(x[0]) + x[1] + x[2], {"a.b": floats(2, 4), "c/d e": floats(2, 4), "größe": floats(2, 4)}, ["output"]),
        (lambda m, x, unused: m.linear(x), {"x": floats(2, 4), "unused": floats(1)}, ["output"]),
    ],
)  # fmt: skip
def test_inputs_and_outputs_of_every_kind(path: Path, function: Any, inputs: Any, outputs: list[str]) -> None:
    made = program(Function(function), inputs)
    model = written(path, made)
    assert [v.name for v in model.graph.input] == list(inputs)
    assert [v.name for v in model.graph.output] == outputs
    with torch.no_grad():
        wanted = made.module(*map(torch.from_numpy, inputs.values()))
    for got, want in zip(run(path, **inputs), wanted, strict=True):
        assert (got.shape, got.dtype) == (tuple(want.shape), want.numpy().dtype)
        assert np.allclose(got, want.numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions(path: Path, dtype: torch.dtype) -> None:
    x = floats(2, 4).astype(str(dtype).removeprefix("torch."))
    made = program(nn.Linear(4, 3).to(dtype), {"x": x}, {"x": {0: "batch"}})
    written(path, made)
    assert run(path, x=x)[0].dtype == x.dtype


def data_dependent(m: Function, x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 0:
        return m.linear(x)  # type: ignore[no-any-return]
    return x


class SingularValues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x)
        y = torch.sigmoid(y)
        return torch.linalg.svdvals(y)


SVD = SingularValues.forward.__code__.co_firstlineno + 3


def fixes_the_axis(m: Function, x: torch.Tensor) -> torch.Tensor:
    return m.linear(x).reshape(2, 2, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("module", "axes", "said"),
    [
        (
            Function(data_dependent),
            {},
            r"\(.*test_onnx_export\.py:\d+\): the control flow or a shape depends on the values of a tensor",
        ),
        (Function(fixes_the_axis), {"x": {0: "batch"}}, "axis declared dynamic is fixed to 2"),
        (SingularValues(), {}, rf"the operator aten\._linalg_svd\.default in net \(.*test_onnx_export\.py:{SVD}\)"),
    ],
)
def test_what_cannot_be_written_is_named_with_its_line(path: Path, module: nn.Module, axes: Any, said: str) -> None:
    with pytest.raises(Unsupported, match=said) as caught:
        export(program(module, {"x": floats(2, 4)}, axes), path)
    assert "\n" not in str(caught.value)
    assert "edgedl_onnx" not in str(caught.value)
    assert not path.exists()


class Masked(nn.Module):
    """torch looks into the mask of a decoder to see whether it is causal, which no trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 1)

    def forward(self, target: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        result: torch.Tensor = self.layers(target, memory, tgt_mask=mask)
        return result


def test_a_decoder_under_a_causal_mask(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    inputs = {name: generator.standard_normal((2, 5, 8)).astype(np.float32) for name in ("target", "memory")}
    task = edgedl.Task("masked", Masked, lambda: inputs, {"target": {1: Axis("time", 2, 20)}})
    (artifact,) = edgedl.export(task, ["onnx"], tmp_path)
    assert artifact.manifest and artifact.manifest.inputs[0].shape == (2, "time", 8)


def test_nothing_is_printed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = Function(lambda m, x: (print("forward"), m.linear(x))[1])
    made = program(module, {"x": floats(2, 4)})
    capfd.readouterr()
    export(made, path)
    assert capfd.readouterr().out == ""


def test_a_second_lstm_keeps_its_own_length(path: Path) -> None:
    """torch's dispatch cache would give the second one the time axis of the first."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0][:, -1]  # type: ignore[no-any-return]

    for time in (6, 9):
        made = program(Last(), {"x": floats(2, time, 4)}, {"x": {0: "batch"}})
        model = written(path, made)
        assert shapes(model.graph.input) == {"x": ["batch", time, 4]}
        with torch.no_grad():
            (want,) = made.module(torch.from_numpy(floats(3, time, 4)))
        assert np.allclose(run(path, x=floats(3, time, 4))[0], want.numpy(), atol=1e-5)


class Twice(nn.Module):
    """A GRU of two layers that is called twice, and one below another module."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.GRU(4, 4, 2)
        self.below = nn.ModuleDict({"lstm": nn.LSTM(4, 3)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.below["lstm"](self.shared(self.shared(x)[0])[0])[0]  # type: ignore[no-any-return]


def test_recurrent_layers_bear_the_names_that_the_user_gave(path: Path) -> None:
    model = written(path, program(Twice(), {"x": floats(5, 1, 4)}))
    names = [node.name for node in model.graph.node if node.op_type in ("GRU", "LSTM")]
    assert names == ["shared", "shared.l1", "shared_1", "shared.l1_1", "below.lstm"]


def test_a_layer_that_is_the_whole_module_bears_its_kind(path: Path) -> None:
    model = written(path, program(nn.RNN(4, 3), {"x": floats(5, 1, 4)}))
    assert [node.name for node in model.graph.node if node.op_type == "RNN"] == ["rnn"]

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Task, registry
from edgedl.errors import GateFailed, InvalidInput, InvalidTensor
from edgedl.program import program_of
from edgedl.streaming import step_program


class Tagger(nn.Module):
    """[batch, time, 4] -> [batch, time, 3]."""

    def __init__(self, layer: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.before = nn.Linear(4, 6)
        self.layer = layer(6, 8, 2, batch_first=True, **options)
        self.after = nn.Linear(16 if options.get("bidirectional") else 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sequence, _ = self.layer(torch.relu(self.before(x)))
        return self.after(sequence)


def sequences() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((2, 9, 4)).astype(np.float32)}


def task(module: Callable[[], nn.Module], time: str = "time") -> Task:
    torch.manual_seed(0)
    made = module()
    return Task("tagger", lambda: made, sequences, {"x": {0: "batch", 1: time}}, ("tags",), lambda: [sequences()] * 3)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_thousand_steps_equal_the_whole_sequence(kind: type[nn.Module], tmp_path: Path) -> None:
    (artifact,) = edgedl.export(task(lambda: Tagger(kind)), ["onnx"], tmp_path, streaming=True)
    assert artifact.path.name == "tagger.step.onnx"
    assert artifact.manifest
    evidence = artifact.manifest.evidence
    assert "batch=16, time=1000" in [parity["case"] for parity in evidence["parity"]]
    assert max(parity["relative_rms"] for parity in evidence["parity"]) < 1e-5
    assert evidence["drift"][0][0] == 1
    assert evidence["drift"][-1][0] == 1000
    assert len(artifact.manifest.states) == (2 if kind is nn.LSTM else 1)


def test_the_layer_of_a_step_bears_the_user_s_name(tmp_path: Path) -> None:
    original = task(lambda: Tagger(nn.GRU))
    registry.exporter("onnx").export(
        step_program(program_of(original, original.model())).program, tmp_path / "net.onnx"
    )
    assert "layer" in [found.name for found in registry.exporter("onnx").layers(tmp_path / "net.onnx")]


def test_a_stream_carries_the_state_and_begins_anew(tmp_path: Path) -> None:
    original = task(lambda: Tagger(nn.LSTM))
    (artifact,) = edgedl.export(original, ["onnx"], tmp_path, streaming=True)
    with torch.no_grad():
        want = original.model()(torch.from_numpy(sequences()["x"])).numpy()
    with edgedl.load(artifact.path) as session:
        stream = session.stream()
        for _ in range(2):
            got = [stream({"x": sequences()["x"][:, [step]]})["tags"] for step in range(9)]
            assert np.allclose(np.concatenate(got, axis=1), want, atol=1e-5)
            stream.reset()
        with pytest.raises(InvalidTensor, match="no state 'nonsense': the model carries layer_h, layer_c"):
            session.stream({"nonsense": want})
        wrong = session.stream({"layer_h": np.zeros((2, 3, 8), np.float32), "layer_c": np.zeros((2, 2, 7), np.float32)})
        with pytest.raises(InvalidTensor, match=r"input 'layer_c' has shape \(2, 2, 7\), expected \(2, batch, 8\)"):
            wrong({"x": sequences()["x"][:, [0]]})


def test_a_step_model_quantizes(tmp_path: Path) -> None:
    original = task(lambda: Tagger(nn.LSTM))
    (artifact,) = edgedl.export(original, ["onnx"], tmp_path, streaming=True)
    for scheme in ("w8a8-dynamic", "w8", "fp16"):
        quantized = edgedl.quantize(artifact, scheme, task=original)
        assert quantized.path.name == f"tagger.step.{scheme}.onnx"
        assert quantized.manifest
        assert quantized.manifest.states == artifact.manifest.states  # type: ignore[union-attr]


def test_the_users_module_is_left_alone() -> None:
    module = Tagger(nn.GRU)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    program = program_of(task(lambda: module), module)
    step_program(program)
    assert type(module.layer) is nn.GRU
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_what_cannot_be_streamed() -> None:
    for module, axis, why in (
        (lambda: Tagger(nn.LSTM, bidirectional=True), "time", "layer is bidirectional and needs the whole sequence"),
        (lambda: Tagger(nn.LSTM), "frames", "add --dynamic INPUT:AXIS=time"),
        (lambda: nn.Linear(4, 3), "time", "no recurrent layer to stream"),
    ):
        original = task(module, axis)
        with pytest.raises(InvalidInput, match=why):
            step_program(program_of(original, original.model()))


class Averaged(nn.Module):
    """Looks at the whole sequence: one step of it is something else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sequence, _ = self.layer(x - x.mean(1, keepdim=True))
        return sequence


def test_a_model_that_looks_ahead_is_not_proven(tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match=r"tagger\.step\.onnx is not proven: output 'tags' at batch=5, time=251"):
        edgedl.export(task(Averaged), ["onnx"], tmp_path, streaming=True)
    assert not (tmp_path / "tagger.step.onnx").exists()

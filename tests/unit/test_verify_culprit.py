from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx_models import floats, program, written
from torch import nn

from edgedl import registry
from edgedl.exporter import Program
from edgedl.verify.culprit import Culprit, find_culprit


class Net(nn.Module):
    """One layer a line, so that a line is a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image)
        x = torch.relu(x)
        y = self.second(x)
        y = torch.relu(y)
        y = self.third(y)
        x = x + y
        x = x.mean((2, 3))
        logits: torch.Tensor = self.head(x)
        return logits


START = Net.forward.__code__.co_firstlineno
LINES = {"first": START + 1, "second": START + 3, "third": START + 5, "head": START + 8}
IMAGE = {"image": floats(2, 3, 8, 8)}


@pytest.fixture
def made() -> Program:
    return program(Net(), IMAGE, {"image": {0: "batch"}})


def spoil(path: Path, layer: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    model = onnx.load(str(path))
    (weight,) = [t for t in model.graph.initializer if t.name.endswith(f"{layer}.weight")]
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight).copy()), weight.name))
    onnx.save(model, str(path))


def culprit(path: Path, made: Program, tolerance: float = 1e-4) -> Culprit | None:
    return find_culprit(made, registry.exporter("onnx"), path, IMAGE, tolerance)


@pytest.mark.parametrize("layer", LINES)
def test_the_spoiled_layer_and_its_line_are_named(tmp_path: Path, made: Program, layer: str) -> None:
    path = tmp_path / "net.onnx"
    written(path, made)
    spoil(path, layer, lambda weight: weight * np.float32(1.05))
    found = culprit(path, made)
    assert found is not None
    assert found.line == f"{__file__}:{LINES[layer]}"
    assert (
        found.tensor
        in {"first": ("conv2d",), "second": ("conv2d_1",), "third": ("conv2d_2",), "head": ("linear",)}[layer]
    )
    assert "is the first tensor that diverges" in str(found)
    assert (found.after is None) is (layer == "first")


def test_a_single_wrong_filter_is_enough(tmp_path: Path, made: Program) -> None:
    path = tmp_path / "net.onnx"
    written(path, made)

    def one_filter(weight: np.ndarray) -> np.ndarray:
        weight[3] += 0.1
        return weight

    spoil(path, "second", one_filter)
    found = culprit(path, made)
    assert found is not None
    assert found.line == f"{__file__}:{LINES['second']}"


def test_a_sound_file_has_no_culprit(tmp_path: Path, made: Program) -> None:
    path = tmp_path / "net.onnx"
    written(path, made)
    assert culprit(path, made) is None


def test_layers_fused_away_are_not_blamed(tmp_path: Path, made: Program) -> None:
    """After quantization the tensor between convolution and ReLU is gone: it is innocent, as what follows agrees."""
    exporter = registry.exporter("onnx")
    from edgedl.schemes import scheme

    path, narrow = tmp_path / "net.onnx", tmp_path / "q.onnx"
    written(path, made)
    exporter.quantize(path, scheme("w8a8"), lambda: [IMAGE], narrow)
    assert culprit(narrow, made, tolerance=0.1) is None
    spoil(path, "third", lambda weight: -weight)
    exporter.quantize(path, scheme("w8a8"), lambda: [IMAGE], narrow)
    found = culprit(narrow, made, tolerance=0.1)
    assert found is not None
    assert found.line == f"{__file__}:{LINES['third']}"


def test_channels_last_is_no_divergence(tmp_path: Path) -> None:
    made = program(Net(), IMAGE, {"image": {0: "batch"}}, channels_last=True)
    path = tmp_path / "net.onnx"
    written(path, made)
    assert culprit(path, made) is None
    spoil(path, "head", lambda weight: weight * 2)
    found = culprit(path, made)
    assert found is not None
    assert found.line == f"{__file__}:{LINES['head']}"


class Constant(nn.Module):
    """Equal to its file in a tensor of ones and in one of zeros, whatever its weights are; and one value is used by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.sin(x)
        y = self.first(x)
        ones = torch.relu(y - 1e6) + 1
        pair = torch.split(self.second(y), 4, 1)
        return torch.cat(pair, 1) * ones


def test_constant_and_unused_tensors_neither_clear_nor_take_the_blame(tmp_path: Path) -> None:
    feeds = {"x": floats(2, 8)}
    made, path = program(Constant(), feeds), tmp_path / "net.onnx"
    written(path, made)

    def found() -> Culprit | None:
        return find_culprit(made, registry.exporter("onnx"), path, feeds, 1e-4)

    assert found() is None
    spoil(path, "first", lambda weight: weight * np.float32(1.05))
    assert (culprit := found()) is not None
    assert culprit.tensor == "linear"


def test_an_output_is_held_under_its_own_name(tmp_path: Path) -> None:
    """Both tensors are in the file, in each other's place."""

    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": torch.sin(x), "b": torch.cos(x)}

    feeds = {"x": floats(2, 8)}
    made, path = program(Two(), feeds), tmp_path / "net.onnx"
    written(path, made)
    model = onnx.load(str(path))
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = {"a": "b", "b": "a"}.get(name, name)
    onnx.save(model, str(path))
    found = find_culprit(made, registry.exporter("onnx"), path, feeds, 1e-4)
    assert found is not None
    assert found.tensor == "sin"


def test_the_spoiled_layer_of_a_tflite_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    exporter, path = registry.exporter("tflite"), tmp_path / "net.tflite"
    made = program(Net(), IMAGE)
    exporter.export(made, path)
    assert find_culprit(made, exporter, path, IMAGE, 1e-4) is None
    for layer in ("second", "head"):
        changed = tmp_path / f"{layer}.tflite"
        weight = made.module.get_submodule(f"module.{layer}").weight.detach().numpy()
        held = weight.transpose(0, 2, 3, 1) if weight.ndim == 4 else weight
        data = path.read_bytes()
        assert data.count(held.tobytes()) == 1
        changed.write_bytes(data.replace(held.tobytes(), (1.05 * held).astype(np.float32).tobytes()))
        found = find_culprit(made, exporter, changed, IMAGE, 1e-4)
        assert found is not None
        assert found.line == f"{__file__}:{LINES[layer]}"

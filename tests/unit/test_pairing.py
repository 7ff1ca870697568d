"""What `compare` and `find_culprit` say of float files that are right, of faults in them, and of integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

import edgedl
from edgedl import Task
from edgedl.comparing import compare
from edgedl.comparison import Comparison, Layer
from edgedl.verify.matching import Tensor
from edgedl.verify.pairing import likely_pairs, sure_pairs

ROUNDING_DB = 90
"""Float32 against float32 is above this in every layer of these small networks."""


def _lively(module: nn.Module) -> nn.Module:
    """Batch norms that do something."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.weight, 0.5, 2.0),
                (layer.bias, -0.3, 0.3),
                (layer.running_mean, -0.3, 0.3),
                (layer.running_var, 0.05, 0.4),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
    return module.eval()


class Net(nn.Module):
    """Layers by name, and a function of them."""

    def __init__(self, forward: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layers, x)


def _conv(i: int, o: int, kernel: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, kernel, padding=kernel // 2, **options)


def _chain(order: str) -> nn.Module:
    """Convolutions with batch norm after or before, and ReLU."""
    after = [_conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), _conv(8, 8), nn.BatchNorm2d(8), nn.ReLU6()]
    before = [_conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8), nn.SiLU(), _conv(8, 8)]
    return nn.Sequential(*(after if order == "after" else before), nn.Flatten(), nn.Linear(8 * 64, 4))


def _excited(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = m["stem"](x)
    return (x * torch.sigmoid(m["up"](torch.relu(m["down"](x.mean((2, 3), keepdim=True)))))).mean((2, 3))


def _shared(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = m["stem"](x)
    for _ in range(3):
        x = torch.relu(m["block"](x))
    return x.flatten(1)


def _residuals(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = m["stem"](x)
    for name in "abc":
        x = x + 0.05 * torch.relu(m[name](x))
    return x.mean((2, 3))


def _branches(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = m["stem"](x)
    return torch.cat([torch.relu(m["a"](x)), torch.relu(m["b"](x))], 1).mean((2, 3))


def _branch_net() -> nn.Module:
    net = Net(_branches, stem=_conv(3, 8), a=_conv(8, 8), b=_conv(8, 8))
    net.layers["b"].load_state_dict(net.layers["a"].state_dict())
    return net


def _dead(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = m["stem"](x)
    return (x + torch.relu(x - 1e3) + torch.zeros_like(x)).mean((2, 3))


def _turned(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x = m["stem"](x).permute(0, 2, 3, 1)
    x = m["mix"](m["norm"](x)).permute(0, 3, 1, 2)
    return x.reshape(1, 4, 2, 8, 8).transpose(1, 2).flatten(1)


def _recurrent(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    return m["head"](m["lstm"](x)[0][:, -1])


def _last(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    return m["head"](m["encoder"](x).mean(1))


def _attention(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    q, k, v = m["qkv"](x).view(1, 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
    return m["head"]((weights @ v).transpose(1, 2).reshape(1, 8, 16))


IMAGE, WORDS = (1, 3, 8, 8), (1, 8, 16)
NETS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "norm after": (IMAGE, lambda: _chain("after")),
    "norm before": (IMAGE, lambda: _chain("before")),
    "residuals": (IMAGE, lambda: Net(_residuals, stem=_conv(3, 8), a=_conv(8, 8), b=_conv(8, 8), c=_conv(8, 8))),
    "equal branches": (IMAGE, _branch_net),
    "shared block": (IMAGE, lambda: Net(_shared, stem=_conv(3, 8), block=_conv(8, 8))),
    "squeeze and excite": (
        IMAGE, lambda: Net(_excited, stem=_conv(3, 8), down=nn.Conv2d(8, 4, 1), up=nn.Conv2d(4, 8, 1)),
    ),
    "groups": (
        IMAGE,
        lambda: nn.Sequential(_conv(3, 8), nn.Hardswish(), _conv(8, 8, groups=8), nn.BatchNorm2d(8), _conv(8, 8, groups=2)),
    ),
    "dead and constant": (IMAGE, lambda: Net(_dead, stem=_conv(3, 8))),
    "permuted": (IMAGE, lambda: Net(_turned, stem=_conv(3, 8), norm=nn.LayerNorm(8), mix=nn.Linear(8, 8))),
    "transformer": (
        WORDS,
        lambda: Net(
            _last,
            encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
            head=nn.Linear(16, 4),
        ),
    ),
    "attention by hand": (WORDS, lambda: Net(_attention, qkv=nn.Linear(16, 48), head=nn.Linear(16, 4))),
    "recurrent": (WORDS, lambda: Net(_recurrent, lstm=nn.LSTM(16, 8, batch_first=True), head=nn.Linear(8, 4))),
}  # fmt: skip


def _task(shape: tuple[int, ...], make: Callable[[], nn.Module]) -> Task:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return _lively(make())

    def inputs(seed: int) -> dict[str, np.ndarray]:
        return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}

    return Task("net", model, lambda: inputs(0), calibration=lambda: (inputs(seed) for seed in range(4)))


def _check(found: Comparison) -> None:
    assert found.layers
    for layer in found.layers:
        assert layer.sqnr_db > ROUNDING_DB, layer


@pytest.mark.parametrize("name", NETS)
def test_no_layer_of_an_onnx_file_that_is_right_looks_wrong(name: str, tmp_path: Path) -> None:
    task = _task(*NETS[name])
    (file,) = edgedl.export(task, ("onnx",), tmp_path)
    _check(compare("torch", file, task=task))


@pytest.mark.parametrize("name", ["norm after", "residuals", "transformer"])
def test_no_layer_of_a_tflite_file_that_is_right_looks_wrong(name: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    task = _task(*NETS[name])
    (file,) = edgedl.export(task, ("tflite",), tmp_path)
    found = compare("torch", file, task=task)
    _check(found)
    if name == "transformer":
        assert any(layer.factor != 1 for layer in found.layers)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: _conv(4, 4),
    "norm": lambda: nn.BatchNorm2d(4),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "grouped": lambda: _conv(4, 4, groups=2),
    "pool": lambda: nn.AvgPool2d(3, 1, 1),
    "identity": nn.Identity,
}


class Residual(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(BLOCKS)), st.booleans()), min_size=1, max_size=6))
def test_no_layer_of_a_random_network_looks_wrong(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[str, bool]]
) -> None:
    def make() -> nn.Module:
        layers = [Residual(BLOCKS[kind]()) if added else BLOCKS[kind]() for kind, added in blocks]
        return nn.Sequential(_conv(3, 4), *layers, nn.Conv2d(4, 2, 1))

    task = _task(IMAGE, make)
    (file,) = edgedl.export(task, ("onnx",), tmp_path_factory.mktemp("random"))
    _check(compare("torch", file, task=task))


def _spoil(path: Path, weight: str) -> Path:
    """The file with a weight changed, without its manifest."""
    model = onnx.load(str(path))
    (found,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith(weight)]
    array = numpy_helper.to_array(found).copy()
    array += np.random.default_rng(0).standard_normal(array.shape).astype(array.dtype) * array.std()
    found.CopyFrom(numpy_helper.from_array(array, found.name))
    changed = path.with_name("changed.onnx")
    onnx.save(model, str(changed))
    return changed


@pytest.mark.parametrize("layer", "abc")
def test_a_changed_weight_is_the_worst_layer(layer: str, tmp_path: Path) -> None:
    task = _task(*NETS["residuals"])
    (file,) = edgedl.export(task, ("onnx",), tmp_path)
    found = compare("torch", _spoil(file.path, f"{layer}.weight"), task=task)
    wrong = [entry for entry in found.layers if entry.sqnr_db < ROUNDING_DB]
    place = "abc".index(layer)
    behind = {f"{name}_{place}".removesuffix("_0") for name in ("relu", "mul")}
    assert wrong[0].name == f"conv2d_{place + 1}"
    assert found.worst_first[0].name in {wrong[0].name, *behind}
    assert len(found.layers) > 10


def _by_name(found: Comparison) -> dict[str, Layer]:
    return {layer.name: layer for layer in found.layers}


def test_integers_are_held_against_the_tensor_after_the_fold(tmp_path: Path) -> None:
    """A convolution before its batch norm is no tensor of the file; figures are those against the float file, layer by layer."""
    task = _task(*NETS["norm after"])
    (file,) = edgedl.export(task, ("onnx",), tmp_path)
    narrow = edgedl.quantize(file, "w8a8", tmp_path, task=task, allow_slower=True)
    through, direct = compare("torch", narrow, task=task), compare(file, narrow, task=task)
    there = {layer.other: layer for layer in direct.layers}
    assert "conv2d" not in _by_name(through)
    assert through.layers
    for layer in through.layers:
        assert layer.sqnr_db == pytest.approx(there[layer.other].sqnr_db, abs=0.5)
        assert layer.sqnr_db > 10


def test_integers_without_their_float_file_are_paired_through_a_new_one(tmp_path: Path) -> None:
    task = _task(*NETS["norm after"])
    (file,) = edgedl.export(task, ("onnx",), tmp_path)
    narrow = edgedl.quantize(file, "w8a8", tmp_path, task=task, allow_slower=True)
    expected = compare("torch", narrow, task=task)
    file.path.unlink()
    assert compare("torch", narrow, task=task) == expected


def _tensor(name: str, value: np.ndarray) -> Tensor:
    return Tensor(name, value.astype(np.float32))


def test_a_multiple_is_the_same_times_a_factor() -> None:
    values = np.random.default_rng(0).standard_normal((2, 4, 4))
    (pair,) = sure_pairs([[_tensor("a", values)]], [[_tensor("b", 0.5 * values)]])
    assert pair.factor == pytest.approx(0.5)
    assert sure_pairs([[_tensor("a", values)]], [[_tensor("b", -values)]]) == []


def test_what_is_the_same_in_one_run_only_is_not_the_same() -> None:
    values = np.random.default_rng(0).standard_normal((2, 8))
    runs = (
        [[_tensor("a", abs(values))], [_tensor("a", values)]],
        [[_tensor("b", abs(values))], [_tensor("b", abs(values))]],
    )
    assert sure_pairs(*runs) == []


def test_the_nearest_is_taken_and_not_its_neighbour() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 16))
    near = x + 1e-4 * rng.standard_normal(x.shape)
    ours = [_tensor("x", x), _tensor("near", near)]
    assert [(p.ours, p.theirs) for p in sure_pairs([ours], [[_tensor("there", near)]])] == [(1, 0)]
    assert [(p.ours, p.theirs) for p in likely_pairs(ours, [_tensor("there", near)])] == [(1, 0)]


def test_equal_tensors_are_paired_in_their_order_or_by_name() -> None:
    x = np.random.default_rng(0).standard_normal((4, 16))
    ours, theirs = [_tensor("a", x), _tensor("b", x)], [_tensor("c", x), _tensor("b", x)]
    assert [(p.ours, p.theirs) for p in sure_pairs([ours], [theirs])] == [(0, 0), (1, 1)]
    assert [(p.ours, p.theirs) for p in sure_pairs([ours], [theirs[1:]])] == [(1, 0)]

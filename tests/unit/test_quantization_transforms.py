"""Calibrators, equalisation, bias correction, smoothing, wide and narrow layers: on networks that plain int8 harms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx_models import floats
from torch import nn

import edgedl
from edgedl import QuantizationOptions, Task, registry
from edgedl.exporter import Exporter
from edgedl.exporting import eager
from edgedl.program import program_of
from edgedl.schemes import SCHEMES
from edgedl.verify.parity import relative_rms

FORMATS = ["onnx", "tflite"]


class Uneven(nn.Module):
    """Consecutive layers whose channels differ in range by a factor of a thousand, as trained depthwise ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.point, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 6)
        factors = torch.logspace(-1.5, 1.5, 16)
        for layer, by in ((self.first, factors), (self.depthwise, 1 / factors)):
            layer.weight.data *= by[:, None, None, None]
        self.first.bias.data *= factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.first(x))))
        logits: torch.Tensor = self.head(torch.relu(self.point(x)).mean((2, 3)))
        return logits


class Outlying(nn.Module):
    """A layer normalisation whose channels differ in range, before two linear layers, as in trained transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(32), nn.Linear(32, 24), nn.Linear(32, 24)
        self.norm.weight.data[:3] *= 60
        for linear in (self.one, self.two):
            linear.weight.data[:, :3] /= 60

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        return self.one(x) * torch.tanh(self.two(x))


class Wide(nn.Module):
    """Inputs that share a sign, so that rounding errors add up."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 16, bias=False), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits


INPUTS: dict[type[nn.Module], Callable[[], np.ndarray]] = {
    Uneven: lambda: floats(64, 3, 8, 8, seed=1),
    Outlying: lambda: floats(64, 4, 32, seed=1),
    Wide: lambda: 3 + floats(256, 64, seed=1),
}


class Case:
    """One network in one format: its float file, its data, and the error of any quantization of it."""

    def __init__(self, network: type[nn.Module], format: str, folder: Path) -> None:
        torch.manual_seed(0)
        module = network().eval()
        self.data, self.folder, self.exporter = INPUTS[network](), folder, registry.exporter(format)
        task = Task("net", lambda: module, lambda: {"x": self.data[:1]}, {"x": {0: "batch"}}, ("y",))
        program = program_of(task, module)
        self.want = eager(program)({"x": self.data})["y"]
        self.source = folder / f"{network.__name__}{self.exporter.suffix}"
        self.exporter.export(program, self.source)

    def quantized(self, scheme: str = "w8a8", **options: Any) -> Path:
        path = self.folder / f"q{self.exporter.suffix}"
        self.exporter.quantize(
            self.source, SCHEMES[scheme], lambda: [{"x": self.data}], path, QuantizationOptions(**options)
        )
        return path

    def output(self, scheme: str = "w8a8", **options: Any) -> np.ndarray:
        with edgedl.load(self.quantized(scheme, **options), threads=1) as session:
            return session.run({"x": self.data})["y"]

    def error(self, scheme: str = "w8a8", **options: Any) -> float:
        return relative_rms(self.output(scheme, **options), self.want)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[nn.Module], str], Case]:
    made: dict[tuple[type[nn.Module], str], Case] = {}

    def get(network: type[nn.Module], format: str) -> Case:
        if (network, format) not in made:
            made[network, format] = Case(network, format, tmp_path_factory.mktemp("case"))
        return made[network, format]

    return get


Cases = Callable[[type[nn.Module], str], Case]


@pytest.mark.parametrize("format", FORMATS)
def test_equalisation_mends_uneven_channels(case: Cases, format: str) -> None:
    uneven = case(Uneven, format)
    assert uneven.error(per_channel=False, equalize=True) < uneven.error(per_channel=False) / 3
    assert uneven.error(equalize=True) < uneven.error() / 2


@pytest.mark.parametrize("format", FORMATS)
def test_equalisation_changes_nothing_in_float(case: Cases, format: str) -> None:
    uneven = case(Uneven, format)
    path = uneven.folder / f"equal{uneven.exporter.suffix}"
    if format == "onnx":
        from edgedl_onnx.equalize import equalize

        model = onnx.load(uneven.source)
        assert equalize(model) == 2
        onnx.save(model, path)
    else:
        from edgedl_tflite import flatbuffer
        from edgedl_tflite.check import read_checked
        from edgedl_tflite.equalize import equalize as equalize_tflite

        model = read_checked(uneven.source)
        assert equalize_tflite(model) == 2
        path.write_bytes(flatbuffer.serialize(model))
        assert path.stat().st_size <= 1.1 * uneven.source.stat().st_size
    with edgedl.load(path, threads=1) as session:
        assert relative_rms(session.run({"x": uneven.data})["y"], uneven.want) < 1e-5


@pytest.mark.parametrize("format", FORMATS)
def test_biases_take_up_the_mean_error(case: Cases, format: str) -> None:
    wide = case(Wide, format)

    def shift(**options: Any) -> float:
        return float(np.abs((wide.output(per_channel=False, **options) - wide.want).mean(0)).max())

    assert shift(bias_correction=True) < shift() / 2


def test_smoothing_mends_outlying_channels(case: Cases) -> None:
    outlying = case(Outlying, "onnx")
    assert outlying.error(smooth=0.5) < outlying.error() / 2


def test_smoothing_folds_into_the_normalisation_and_changes_nothing_in_float(case: Cases) -> None:
    from edgedl_onnx.smooth import smooth

    outlying = case(Outlying, "onnx")
    model = onnx.load(outlying.source)
    nodes = len(model.graph.node)
    assert smooth(model, 0.5, lambda: [{"x": outlying.data}]) == 1
    assert len(model.graph.node) == nodes
    onnx.save(model, outlying.folder / "smooth.onnx")
    with edgedl.load(outlying.folder / "smooth.onnx", threads=1) as session:
        assert relative_rms(session.run({"x": outlying.data})["y"], outlying.want) < 1e-5


@pytest.mark.parametrize("calibrator", ["percentile", "entropy"])
@pytest.mark.parametrize("format", FORMATS)
def test_clipping_mends_a_rare_huge_input(case: Cases, format: str, calibrator: str) -> None:
    wide = case(Wide, format)
    rows = wide.data.copy()
    rows[5, 3] = 300.0
    path, errors = wide.folder / f"clipped{wide.exporter.suffix}", {}
    for name in ("minmax", calibrator):
        wide.exporter.quantize(
            wide.source,
            SCHEMES["w8a8"],
            lambda: [{"x": rows}, *[{"x": wide.data}] * 3],
            path,
            QuantizationOptions(calibrator=name),
        )
        with edgedl.load(path, threads=1) as session:
            errors[name] = relative_rms(session.run({"x": wide.data})["y"], wide.want)
    assert errors[calibrator] < errors["minmax"] / 2


@pytest.mark.parametrize("format", FORMATS)
def test_sixteen_bits_of_activation_lose_less(case: Cases, format: str) -> None:
    uneven = case(Uneven, format)
    names = tuple(layer.name for layer in uneven.exporter.layers(uneven.source))
    eight = uneven.error()
    assert uneven.error("w8a16") < eight
    assert uneven.error(wide=names) < eight


def stored(path: Path) -> list[np.ndarray]:
    tensors = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    return [array for array in tensors if array.dtype == np.int8 and array.ndim > 1]


@pytest.mark.parametrize("per_channel", [True, False])
def test_narrow_layers_have_seven_bits(case: Cases, per_channel: bool) -> None:
    wide = case(Wide, "onnx")
    first = wide.exporter.layers(wide.source)[0].name
    largest = [
        int(np.abs(w.astype(int)).max()) for w in stored(wide.quantized(narrow=(first,), per_channel=per_channel))
    ]
    assert sorted(largest) == [64, 127]


def blocks(exporter: Exporter, path: Path) -> int:
    return exporter.describe(path).bytes_by_dtype.get("uint8" if exporter.format == "onnx" else "int4", 0)


@pytest.mark.parametrize("format", FORMATS)
def test_four_bits_halve_the_bytes_of_eight(case: Cases, format: str) -> None:
    wide = case(Wide, format)
    path = wide.quantized("w4")
    assert blocks(wide.exporter, path) >= 64 * 16 // 2
    assert [layer.name for layer in wide.exporter.layers(path)] == [
        layer.name for layer in wide.exporter.layers(wide.source)
    ]
    assert wide.error("w4") < SCHEMES["w4"].tolerance.relative_rms


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("scheme", "words"), [("w4", "linear layers alone"), ("w8a16", "slower than float|times slower")]
)
def test_objections_name_a_better_scheme(case: Cases, format: str, scheme: str, words: str) -> None:
    uneven = case(Uneven, format)
    said = uneven.exporter.objection(uneven.source, SCHEMES[scheme])
    assert said
    assert any(word in said for word in words.split("|"))

"""Advice is checked before it is given: nobody is sent in a circle."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tflite_models import exported as tflite_exported
from torch import nn

import edgedl
from edgedl import Artifact, Task, registry
from edgedl.cli.saturating import can_be_narrowed
from edgedl.errors import GateFailed, Unsupported
from edgedl.exporter import Exporter
from edgedl.measure.statistics import Estimate
from edgedl.quantization.advice import for_inexact, for_slow, instead_of
from edgedl.quantizing import refuse_unsuitable
from edgedl.schemes import SCHEMES
from edgedl.worth import Worth

QUANTIZED = [name for name in SCHEMES if name != "fp32"]


def suggested(text: str) -> set[str]:
    return set(re.findall(r"--scheme ([a-z0-9-]+)", text))


@given(
    st.sets(st.sampled_from(QUANTIZED)),
    st.dictionaries(st.sampled_from("abc"), st.sets(st.sampled_from(QUANTIZED)), min_size=1),
    st.sampled_from(QUANTIZED),
)
def test_no_advice_is_refused_in_turn(schemes: set[str], refused: dict[str, set[str]], asked: str) -> None:
    """Whatever a format has, and whatever speaks against the schemes for the files of a group."""

    def objection(path: Path, scheme: object) -> str | None:
        return "no" if scheme.name in refused[path.name] else None  # type: ignore[attr-defined]

    exporter = cast(Exporter, SimpleNamespace(schemes=tuple(schemes), objection=objection))
    allowed = schemes - set().union(*refused.values()) - {asked}
    files = [Path(name) for name in refused]
    for advice in (instead_of, for_inexact, for_slow):
        assert suggested(advice(exporter, files, SCHEMES[asked])) <= allowed
    assert bool(instead_of(exporter, files, SCHEMES[asked])) == bool(allowed & {"w8a8", "w8a8-dynamic", "w8", "fp16"})


class First(nn.Module):
    """A recurrent layer's outputs without its states, pooled to the inputs of a head."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.layer(x)[0][:, -1])
        return y


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), (2, 16)),
    "cnn": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)), (1, 3, 8, 8)),
    "deconvolution": (lambda: nn.ConvTranspose2d(4, 8, 3), (1, 4, 8, 8)),
    "lstm": (lambda: First(nn.LSTM(8, 16, batch_first=True)), (1, 5, 8)),
    "gru": (lambda: First(nn.GRU(8, 16, batch_first=True)), (1, 5, 8)),
    "rnn": (lambda: First(nn.RNN(8, 16, batch_first=True)), (1, 5, 8)),
    "sum": (nn.Identity, (2, 4)),
}


@pytest.fixture(scope="module", params=[*NETWORKS, "tflite-mlp", "tflite-cnn"])
def float_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    format, _, kind = str(request.param).rpartition("-")
    if format:
        return Artifact(tflite_exported(kind))
    make, shape = NETWORKS[kind]
    torch.manual_seed(0)
    module, rows = make().eval(), np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    task = Task(kind, lambda: module, lambda: {"x": rows}, calibration=lambda: [{"x": rows}])
    return edgedl.export(task, ["onnx"], tmp_path_factory.mktemp(kind))[0]


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_what_a_refusal_suggests_is_not_refused(float_file: Artifact, scheme: str) -> None:
    if scheme not in registry.exporter(float_file.format).schemes:
        return
    try:
        refuse_unsuitable(float_file, SCHEMES[scheme])
    except Unsupported as refused:
        for name in suggested(str(refused)):
            refuse_unsuitable(float_file, SCHEMES[name])


def convolutional() -> Task:
    rows = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)).eval()
    return Task("net", lambda: module, lambda: {"x": rows[:1]}, calibration=lambda: [{"x": rows[:1]}])


def test_a_slow_file_is_told_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Worth("q", "f", 1, 2, Estimate(0.2, 0.1, 0.3), "engine 1", "local", ("HARD_SWISH +89.8 us",))
    monkeypatch.setattr("edgedl.quantizing.speed_judge", lambda *_: lambda artifact: slow)
    (source,) = edgedl.export(convolutional(), ["onnx"], tmp_path)
    with pytest.raises(GateFailed) as refused:
        edgedl.quantize(source, "w8a8", task=convolutional())
    said = str(refused.value)
    assert "5.00x slower" in said
    assert "HARD_SWISH +89.8 us" in said
    assert said.endswith("ship the float file, or try --scheme w8 for the size alone, or add --allow-slower")


def test_a_dynamic_scheme_that_fails_names_layers_that_help_too(tmp_path: Path) -> None:
    """One huge input hides the others from the one scale that a product's input has at run time."""
    rows = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    rows[:, 0] *= 1e4
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        module[0].weight[:, 0] *= 1e-4
    task = Task("net", lambda: module, lambda: {"x": rows}, calibration=lambda: [{"x": rows}])
    (source,) = edgedl.export(task, ["onnx"], tmp_path)
    with pytest.raises(GateFailed, match=r"with --keep-float .* it passes") as failed:
        edgedl.quantize(source, "w8a8-dynamic", task=task)
    kept = tuple(re.findall(r"--keep-float (\S+)", str(failed.value)))
    options = edgedl.QuantizationOptions(keep_float=kept)
    assert edgedl.quantize(source, "w8a8-dynamic", task=task, options=options).manifest


@pytest.mark.parametrize(
    ("provenance", "mendable"),
    [
        ({"options": {"narrow": []}}, True),
        ({"options": {"narrow": ["a"]}}, False),
        ({"qat": {"seed": 0}}, False),
        ({}, False),
    ],
)
def test_narrow_is_suggested_where_it_can_be_taken(provenance: dict[str, object], mendable: bool) -> None:
    artifact = cast(Artifact, SimpleNamespace(manifest=SimpleNamespace(provenance=provenance)))
    assert can_be_narrowed(artifact) == mendable

"""Recurrent layers: kinds x directions x layers x given state x format x scheme, at several lengths of batch and time.

All are exported in one process: what an exporter keeps from one model must not fix an axis of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Artifact, Axis, Task, registry
from edgedl.errors import Unsupported
from edgedl.schemes import SCHEMES

DYNAMIC = sorted(registry.usable_exporters().keys() - {"ncnn"})
"""The formats whose dynamic axes take any network"""
KINDS: dict[str, Callable[..., nn.Module]] = {
    "rnn": nn.RNN,
    "rnn-relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
BATCH, TIME = Axis("batch", 1, 5), Axis("time", 1, 9)
MOST_OPERATORS = 90
"""of two bidirectional layers with their states; unrolled over nine steps they are over a thousand"""

IN_FLOAT = {("onnx", "w4", kind) for kind in KINDS} | {("onnx", "w8a8-dynamic", kind) for kind in ("rnn", "gru")}
"""What no scheme of that name quantizes"""


class Network(nn.Module):
    """[batch, time, 4] and, where `given`, the initial states -> every state and the final ones."""

    def __init__(self, kind: str, layers: int, bidirectional: bool, given: bool) -> None:
        super().__init__()
        self.layer = KINDS[kind](4, 6, layers, batch_first=True, bidirectional=bidirectional)
        self.pair = kind == "lstm"
        self.given = given

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        start = None if not self.given else tuple(states) if self.pair else states[0]
        every, end = self.layer(x, start)
        return (every, *(end if self.pair else (end,)))


def network(kind: str, layers: int, bidirectional: bool, given: bool) -> Task:
    torch.manual_seed(0)
    module = Network(kind, layers, bidirectional, given)
    generator = np.random.default_rng(0)
    inputs = {"x": generator.standard_normal((2, 5, 4)).astype(np.float32)}
    axes: dict[str, dict[int, str | Axis]] = {"x": {0: BATCH, 1: TIME}}
    for name in ("h", "c")[: 2 if kind == "lstm" else 1] if given else ():
        inputs[name] = generator.standard_normal((layers * (1 + bidirectional), 2, 6)).astype(np.float32)
        axes[name] = {1: BATCH}
    return Task("net", lambda: module, lambda: inputs, axes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recurrent")


def check(artifact: Artifact) -> None:
    assert artifact.manifest
    cases = {parity["case"] for parity in artifact.manifest.evidence["parity"]}
    assert cases == {"batch=1, time=1", "batch=2, time=3", "batch=5, time=9"}
    assert artifact.manifest.inputs[0].shape == ("batch", "time", 4)
    operators = registry.exporter(artifact.format).describe(artifact.path).operators
    assert sum(operators.values()) <= MOST_OPERATORS, operators


@pytest.mark.parametrize("given", [False, True], ids=["zero", "given"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_onnx(folder: Path, kind: str, layers: int, bidirectional: bool, given: bool) -> None:
    check(edgedl.export(network(kind, layers, bidirectional, given), ["onnx"], folder, force=True)[0])


@pytest.mark.parametrize(("layers", "bidirectional", "given"), [(1, False, True), (2, True, False)])
@pytest.mark.parametrize("kind", KINDS)
def test_tflite(folder: Path, kind: str, layers: int, bidirectional: bool, given: bool) -> None:
    check(edgedl.export(network(kind, layers, bidirectional, given), ["tflite"], folder, force=True)[0])


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True], ids=["zero", "given"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_tflite_in_full(folder: Path, kind: str, layers: int, bidirectional: bool, given: bool) -> None:
    check(edgedl.export(network(kind, layers, bidirectional, given), ["tflite"], folder, force=True)[0])


@pytest.mark.parametrize("format", DYNAMIC)
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_every_scheme(folder: Path, kind: str, format: str) -> None:
    original = network(kind, 1, False, False)
    (source,) = edgedl.export(original, [format], folder / format / kind)
    for scheme in registry.exporter(format).schemes:
        if SCHEMES[scheme].needs_calibration:
            continue  # it needs calibration inputs, and leaves recurrent layers in float
        if (format, scheme, kind) in IN_FLOAT:
            with pytest.raises(Unsupported, match=f"{scheme} leaves every weight"):
                edgedl.quantize(source, scheme, task=original, allow_slower=True)
            continue
        quantized = edgedl.quantize(source, scheme, task=original, allow_slower=True)
        assert quantized.manifest
        worst = max(parity["relative_rms"] for parity in quantized.manifest.evidence["parity"])
        assert worst <= SCHEMES[scheme].tolerance.relative_rms
        check(quantized)

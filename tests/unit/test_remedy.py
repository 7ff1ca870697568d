"""What a refused static quantization is told to do: the command is one that passes."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Score, Task
from edgedl.errors import GateFailed
from edgedl.exporter import QuantizationOptions
from edgedl.task import Predict


class Spectrum(nn.Module):
    """A logarithm of squares, as in front of audio: eight bits hold the loud bands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.bands, self.middle, self.head = nn.Linear(16, 12, bias=False), nn.Linear(12, 24), nn.Linear(24, 4)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        loudness = torch.log(self.bands(wave) ** 2 + 1e-6)
        logits: torch.Tensor = self.head(torch.relu(self.middle(loudness)))
        return logits


def task() -> Task:
    random = np.random.default_rng(0)
    loudness = np.exp(random.normal(-2, 2.5, (64, 1)))
    waves = (random.standard_normal((64, 16)) * loudness).astype(np.float32)

    def model() -> nn.Module:
        torch.manual_seed(0)
        return Spectrum()

    return Task("spectrum", model, lambda: {"wave": waves[:1]}, {"wave": {0: "batch"}}, ("logits",),
                lambda: [{"wave": rows} for rows in np.array_split(waves, 4)])  # fmt: skip


def told(failure: GateFailed) -> tuple[str, ...]:
    """The layers of the command that the sentence gives."""
    (command,) = re.findall(r"with (--keep-float .*) it passes", str(failure))
    return tuple(word for word in shlex.split(command) if word != "--keep-float")


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_layers_that_are_named_are_enough(tmp_path: Path, format: str) -> None:
    (whole,) = edgedl.export(task(), (format,), tmp_path)
    with pytest.raises(GateFailed, match="relative RMS error") as failed:
        edgedl.quantize(whole, "w8a8", task=task())
    kept = told(failed.value)
    assert 0 < len(kept) < 3
    assert sorted(path.name for path in tmp_path.iterdir() if "remedy" in path.name) == []
    narrow = edgedl.quantize(whole, "w8a8", task=task(), options=QuantizationOptions(keep_float=kept))
    assert narrow.manifest and narrow.manifest.evidence["passed"]


def test_what_no_layer_mends_gets_no_command(tmp_path: Path) -> None:
    def evaluate(predict: Predict) -> Score:
        """Full marks for the original alone."""
        outputs = predict({"wave": np.ones((2, 16), np.float32)})["logits"]
        want = Spectrum.forward(task().model(), torch.ones(2, 16)).detach().numpy()
        return Score("sameness", float(np.array_equal(outputs, want)))

    (whole,) = edgedl.export(replace(task(), evaluate=None), ("onnx",), tmp_path)
    with pytest.raises(GateFailed) as failed:
        edgedl.quantize(whole, "w8a8", task=replace(task(), evaluate=evaluate))
    assert "--keep-float" not in str(failed.value)
    assert "try --scheme w8a8-dynamic" in str(failed.value)

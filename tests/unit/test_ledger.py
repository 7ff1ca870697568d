from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_models import floats, program
from tflite_models import MLP, sample
from torch import nn

from edgedl import Task, registry
from edgedl.exporter import Description, QuantizationOptions
from edgedl.ledger import ledger, left_wide
from edgedl.program import program_of
from edgedl.schemes import SCHEMES

FORMATS = ["onnx", "tflite"]


def lines(described: Description) -> dict[tuple[str, str], tuple[int, int]]:
    return {(line.operator, line.dtype): (line.count, line.weights) for line in described.ledger}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    module = MLP().eval()
    task = Task("mlp", lambda: module, lambda: {"x": sample("mlp", 1)}, outputs=("y",))
    made = {f: tmp_path_factory.mktemp("ledger") / f"mlp.{f}" for f in FORMATS}
    for format, path in made.items():
        registry.exporter(format).export(program_of(task, module), path)
    return made


WEIGHTS, BIASES = 16 * 64 + 64 * 64 + 64 * 8, 64 + 64 + 8


@pytest.mark.parametrize(("format", "operator"), [("onnx", "Gemm"), ("tflite", "FULLY_CONNECTED")])
def test_every_byte_has_its_reader(files: dict[str, Path], tmp_path: Path, format: str, operator: str) -> None:
    exporter, source = registry.exporter(format), files[format]
    described = exporter.describe(source)
    assert lines(described)[operator, "float32"] == (4 * (WEIGHTS + BIASES), 4 * WEIGHTS)
    assert left_wide(described) == ""
    for scheme in ("w8", "w8a8"):
        narrow = tmp_path / f"{scheme}{exporter.suffix}"
        exporter.quantize(source, SCHEMES[scheme], lambda: [{"x": sample("mlp", 1)}], narrow)
        described = exporter.describe(narrow)
        assert lines(described)[operator, "int8"][1] == WEIGHTS
        assert sum(line.count for line in described.ledger) == sum(described.bytes_by_dtype.values())
        assert left_wide(described) == ""


@pytest.mark.parametrize(("format", "operator"), [("onnx", "Gemm"), ("tflite", "FULLY_CONNECTED")])
def test_what_stays_float_is_pointed_out(files: dict[str, Path], tmp_path: Path, format: str, operator: str) -> None:
    exporter, source = registry.exporter(format), files[format]
    kept = QuantizationOptions(keep_float=(exporter.layers(source)[0].name,))
    exporter.quantize(source, SCHEMES["w8"], None, tmp_path / "q", kept)
    said = left_wide(exporter.describe(tmp_path / "q"))
    assert said == f"4,096 bytes of weights are still float32 ({operator} 4,096): 47% of the bytes of all weights"


def test_a_gru_that_static_quantization_leaves_in_float_is_pointed_out(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.gru(x)[0][:, -1])
            return logits

    exporter = registry.exporter("onnx")
    exporter.export(program(Net(), {"x": floats(2, 5, 8)}), tmp_path / "net.onnx")
    rows = [{"x": 9 * array} for array in np.split(floats(32, 5, 8), 16)]
    exporter.quantize(tmp_path / "net.onnx", SCHEMES["w8a8"], lambda: rows, tmp_path / "q.onnx")
    assert f"(GRU {4 * 3 * 16 * (8 + 16):,})" in left_wide(exporter.describe(tmp_path / "q.onnx"))


def test_the_ledger_adds_up_by_operator_and_dtype() -> None:
    found = ledger(
        [("Conv", "int8", 10, 4), ("Conv", "float32", 99, 1), ("Conv", "int8", 5, 1), ("Gemm", "int8", 1, 2)]
    )
    assert [(line.operator, line.dtype, line.count, line.weights) for line in found] == [
        ("Conv", "float32", 99, 0), ("Conv", "int8", 15, 10), ("Gemm", "int8", 1, 1),
    ]  # fmt: skip
    assert ledger([]) == ()

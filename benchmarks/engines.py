"""Every installed engine on four workloads, as ratios of CPU time over ONNX Runtime's float: `python benchmarks/engines.py`.

ResNet-20 on 32x32, MobileNetV2 1.0 at 96x96 (needs torchvision, `pip install --no-deps torchvision==0.28.0`), a two-layer BiLSTM
of 128 units over 50 steps, and a transformer encoder of 6 layers of 384 over 128 tokens; float, w8a8 and w8a8-dynamic, each with the cosine that its
proof found. Beside each best ratio stands the best of a table of earlier measurements (four engines, quiet machine, AVX512-VNNI and bf16).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import edgedl
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError
from edgedl.measure import BenchmarkRecord, InputChoice, Measured, Plan, measure, subjects_of
from edgedl.measure.statistics import Estimate, ratio
from edgedl.report.evidence import evidence_of

PLAN = Plan(runs=24, seconds=2.0, rounds=12)
SCHEMES = ("w8a8", "w8a8-dynamic")


@dataclass(frozen=True)
class Workload:
    """known: the best ratio of the earlier table, and what reached it."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    known: float
    by: str


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU())
        self.body = nn.Sequential(*first, nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs))
        self.way = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.way(x))


def resnet() -> nn.Module:
    widths = [
        (16, 16, 1),
        (16, 16, 1),
        (16, 16, 1),
        (16, 32, 2),
        (32, 32, 1),
        (32, 32, 1),
        (32, 64, 2),
        (64, 64, 1),
        (64, 64, 1),
    ]
    blocks = (Residual(*width) for width in widths)
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mobilenet() -> nn.Module:
    from edgedl.timm_task import _timm

    _timm()
    from torchvision.models import mobilenet_v2

    network: nn.Module = mobilenet_v2()
    return network


class BiLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 128, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(384, 12, 1536, batch_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)


WORKLOADS = {
    "resnet": Workload(resnet, (1, 3, 32, 32), 3.03, "LiteRT w8a8"),
    "mobilenetv2": Workload(mobilenet, (1, 3, 96, 96), 2.28, "OpenVINO int8 + bf16"),
    "bilstm": Workload(BiLstm, (1, 50, 64), 2.20, "ONNX Runtime w8a8-dynamic"),
    "transformer": Workload(transformer, (1, 128, 384), 3.38, "OpenVINO int8 + bf16"),
}


def artifacts(name: str, work: Workload, folder: Path) -> Iterator[Artifact]:
    """Float and quantized files in each format; what is refused or not proven is told and left out."""
    generator = np.random.default_rng(0)
    sample = {"x": generator.standard_normal(work.shape).astype(np.float32)}
    batches = [{"x": generator.standard_normal(work.shape).astype(np.float32)} for _ in range(8)]

    def make() -> nn.Module:
        torch.manual_seed(0)
        return work.make()

    task = edgedl.Task(name, make, lambda: sample, calibration=lambda: batches)
    for format in ("onnx", "tflite", "ncnn"):
        try:
            (float_,) = edgedl.export(task, (format,), folder)
        except EdgedlError as error:
            print(f"  {format}: {error}")
            continue
        yield float_
        for scheme in SCHEMES:
            try:
                yield edgedl.quantize(float_, scheme, task=task, speed_check=False)
            except EdgedlError as error:
                print(f"  {format} {scheme}: {str(error).splitlines()[0]}")


def gain(subject: Measured, baseline: Measured) -> Estimate:
    """Ratio of CPU time per run, round by round: wall time says nothing on a busy machine."""
    return ratio(_cpu(baseline), _cpu(subject))


def _cpu(subject: Measured) -> np.ndarray:
    return np.array([max(r.cpu_seconds, 1e-9) / r.runs for r in subject.rounds])


def closeness(made: list[Artifact]) -> dict[str, float | None]:
    """File name -> cosine of the worst output to eager torch's, from the proof."""
    found = {artifact.path.name: evidence_of(artifact.manifest.evidence) for artifact in made if artifact.manifest}
    return {name: evidence.cosine if evidence else None for name, evidence in found.items()}


def show(name: str, work: Workload, record: BenchmarkRecord, cosines: dict[str, float | None]) -> None:
    baseline = next(s for s in record.finished if s.runtime == "ort" and s.source == f"{name}.onnx")
    gains = sorted(((gain(s, baseline), s) for s in record.finished), key=lambda pair: -pair[0].value)
    for found, s in gains:
        far = "" if s.agrees else f"; this engine is off by {s.golden_rms:.2g} (relative RMS)"
        print(
            f"  {found.value:5.2f}x ({found.low:.2f} to {found.high:.2f})  {s.label}, cosine {cosines[s.source]:.5f}{far}"
        )
    best = max(found.value for found, s in gains if s.agrees)
    print(f"  best {best:.2f}x; known {work.known:.2f}x by {work.by}: {'reached' if best >= work.known else 'MISSED'}")


def main() -> None:
    for name in sys.argv[1:] or WORKLOADS:
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            made = list(artifacts(name, WORKLOADS[name], Path(folder)))
            subjects = subjects_of(made, ["all"])
            record = measure(subjects, InputChoice(subjects), PLAN, lambda done, total: None)
            show(name, WORKLOADS[name], record, closeness(made))


if __name__ == "__main__":
    main()

"""Which operators stay in float because one integer scale would round a part of their result away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Artifact, Task
from edgedl.formats.rounding_loss import Operator, float_regions, spreads, watched

ROWS = np.random.default_rng(0).standard_normal((64, 4, 8)).astype(np.float32)


def regions(operators: list[Operator], **tensors: np.ndarray) -> list[tuple[str, ...]]:
    assert watched(operators) <= set(tensors)
    return [region.operators for region in float_regions(operators, spreads(tensors.items()))]


def joined(small: float) -> list[tuple[str, ...]]:
    """Of two layers' results, one smaller by a factor, that are joined and read by a third layer."""
    operators = [
        Operator("a", ("x",), ("a",), layer=True),
        Operator("b", ("x",), ("b",), layer=True),
        Operator("join", ("a", "b"), ("ab",), joins=True),
        Operator("act", ("ab",), ("act",)),
        Operator("c", ("act",), ("c",), layer=True),
        Operator("end", ("c",), ("out",)),
    ]
    a, b = ROWS, ROWS * small
    return regions(operators, a=a, b=b, ab=np.concatenate([a, b], 1), c=ROWS, out=ROWS)


def test_parts_of_like_magnitude_stay_in_integers() -> None:
    assert joined(0.3) == []


def test_a_join_of_unlike_parts_stays_in_float_up_to_the_next_layer() -> None:
    assert joined(0.001) == [("join", "act", "c")]


def test_a_join_that_nothing_rounds_is_none() -> None:
    operators = [
        Operator("join", ("a", "b"), ("ab",), joins=True, rounds=False),
        Operator("norm", ("ab",), ("n",), rounds=False),
        Operator("c", ("n",), ("c",), layer=True, rounds=False),
    ]
    assert regions(operators, a=ROWS, b=ROWS / 1e4, ab=np.concatenate([ROWS, ROWS / 1e4], 1)) == []


def test_the_end_of_a_network_stays_in_float_where_an_offset_hides_what_varies() -> None:
    operators = [
        Operator("head", ("x",), ("head",), layer=True),
        Operator("sigmoid", ("head",), ("s",)),
        Operator("grid", ("s",), ("boxes",)),
        Operator("flat", ("boxes",), ("out",), moves=True),
    ]
    grid = np.arange(32, dtype=np.float32).reshape(1, 4, 8) * 20
    boxes = ROWS / 10 + grid
    assert regions(operators, head=ROWS, s=ROWS / 10, boxes=boxes, out=boxes) == [("sigmoid", "grid", "flat")]
    assert regions(operators, head=ROWS, s=ROWS, boxes=ROWS * 640, out=ROWS * 640) == []


def test_a_channel_of_another_magnitude_counts() -> None:
    operators = [Operator("head", ("x",), ("head",), layer=True), Operator("scaled", ("head",), ("out",))]
    scaled = ROWS * np.array([640, 640, 1, 1], np.float32)[:, None]
    assert regions(operators, head=ROWS, out=scaled) == [("scaled",)]


def test_a_fixed_step_counts_and_constants_have_nothing_to_lose() -> None:
    def scores(step: float | None) -> list[Operator]:
        return [Operator("head", ("x",), ("head",), layer=True), Operator("sigmoid", ("head",), ("out",), step=step)]

    small = 0.01 + ROWS / 1000
    assert regions(scores(1 / 256), head=ROWS, out=small) == [("sigmoid",)]
    assert regions(scores(None), head=ROWS, out=small) == []
    assert regions(scores(None), head=ROWS, out=np.zeros_like(ROWS)) == []


class Detector(nn.Module):
    """Boxes from 0 to 640 and scores from 0 to 1 in one output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.box, self.score = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x)
        boxes, scores = self.box(features).sigmoid() * 640, self.score(features).sigmoid()
        return torch.cat([boxes.flatten(2), scores.flatten(2)], 1)


def detector() -> Task:
    images = np.random.default_rng(0).random((12, 3, 8, 8), np.float32)

    def model() -> nn.Module:
        torch.manual_seed(0)
        return Detector().eval()

    return Task(
        "detector", model, lambda: {"x": images[:1]}, calibration=lambda: [{"x": images[n : n + 1]} for n in range(8)]
    )


def worst_part(artifact: Artifact, task: Task) -> float:
    """The larger relative error of boxes and scores on images that calibration has not seen."""
    images = np.random.default_rng(1).random((6, 3, 8, 8), np.float32)
    with torch.no_grad():
        wanted = task.model()(torch.from_numpy(images)).numpy()
    session = edgedl.load(artifact.path)
    (output,) = (spec.name for spec in session.outputs)
    error = np.concatenate([session.run({"x": images[n : n + 1]})[output] for n in range(6)]) - wanted
    return max(float(np.sqrt((error[:, p] ** 2).mean() / (wanted[:, p] ** 2).mean())) for p in (slice(4), slice(4, 7)))


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_boxes_and_scores_of_one_output_both_survive(tmp_path: Path, format: str) -> None:
    task = detector()
    (whole,) = edgedl.export(task, (format,), tmp_path)
    artifact = edgedl.quantize(whole, "w8a8", task=task, allow_slower=True)
    assert worst_part(artifact, task) < 0.01
    assert artifact.manifest
    (region,) = artifact.manifest.provenance["in_float"]
    assert "integer step" in region["reason"]
    described = edgedl.registry.exporter(format).describe(artifact.path)
    assert described.bytes_by_dtype["int8"] > 200  # all three convolutions


class Joined(nn.Module):
    """A product that reads a join of unlike parts."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(16, 4)
        with torch.no_grad():
            self.large.weight *= 1000
            self.head.weight[:, :8] /= 1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(torch.cat([self.large(x), self.small(x)], 1))
        return y


def test_a_scale_taken_at_run_time_loses_parts_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    torch.manual_seed(0)
    module = Joined().eval()
    task = Task("joined", lambda: module, lambda: {"x": rows}, calibration=lambda: [{"x": rows}])
    (whole,) = edgedl.export(task, ("onnx",), tmp_path)
    artifact = edgedl.quantize(whole, "w8a8-dynamic", task=task)
    assert artifact.manifest
    assert artifact.manifest.evidence["parity"][0]["relative_rms"] < 0.02
    (region,) = artifact.manifest.provenance["in_float"]
    assert len(region["operators"]) == 2

"""A small centre-point detector: where the red cells, white cells and platelets of a blood smear are.

Data: 364 photos with 4,886 boxes, BCCD_Dataset, MIT (see _cells_data), by the set's own split. mAP50 on unseen photos: 0.79.
Architecture: depthwise separable convolutions to an eighth of the size and back to a fourth; X. Zhou et al., Objects as
Points, 2019, https://arxiv.org/abs/1904.07850. The file ends with scores and boxes of all 1,200 cells; a device finds the objects
among them in numpy (see _boxes). `cells_detector_peaks` is the same network with the suppression in the graph.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate, smooth_l1_loss

from edgedl.loop import Loop, Stage
from edgedl.spec import Array
from edgedl.task import Predict, Processing, Progress, Score, Task
from edgedl.zoo import _cells_data as cells
from edgedl.zoo import _photos_data as data
from edgedl.zoo._average_precision import mean_average_precision
from edgedl.zoo._boxes import detections
from edgedl.zoo._separable import convolution, separable

STRIDE = 4
ROWS, COLUMNS = data.HEIGHT // STRIDE, data.WIDTH // STRIDE
KINDS = len(cells.KINDS)
PRIOR = -3.0
"""The logit that scores begin at: nearly every cell holds nothing."""


class CellsDetector(nn.Module):
    """[batch, 3, 120, 160] float32 in 0..1 -> boxes [batch, 1200, 4], scores [batch, 1200, 3] in 0..1."""

    centres: torch.Tensor
    sides: torch.Tensor

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            convolution(3, width, 3, 2), separable(width, 2 * width, 2), separable(2 * width, 2 * width)
        )
        self.deep = nn.Sequential(
            separable(2 * width, 4 * width, 2), *(separable(4 * width, 4 * width) for _ in range(3))
        )
        self.lateral = convolution(2 * width, 4 * width, 1)
        self.join = separable(4 * width, 2 * width)
        self.heat, self.shape = nn.Conv2d(2 * width, KINDS, 1), nn.Conv2d(2 * width, 4, 1)
        nn.init.constant_(self.heat.bias, PRIOR)  # type: ignore[arg-type]
        where = np.stack(np.meshgrid(np.arange(COLUMNS), np.arange(ROWS)), 0).reshape(1, 2, -1)
        self.register_buffer("centres", torch.from_numpy(where.astype(np.float32) + 0.5), persistent=False)
        self.register_buffer("sides", torch.tensor([COLUMNS, ROWS, COLUMNS, ROWS]).float(), persistent=False)

    def maps(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits [batch, 3, 30, 40], shapes [batch, 4, 30, 40]: centre from the cell's, in cells; log of the sides in cells)."""
        fine = self.stem(image)
        coarse = interpolate(self.deep(fine), scale_factor=2.0, mode="nearest")
        features = self.join(self.lateral(fine) + coarse)
        return self.heat(features), self.shape(features)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, shapes = self.maps(image)
        return self.boxes(shapes), logits.sigmoid().flatten(2).transpose(1, 2)

    def boxes(self, shapes: torch.Tensor) -> torch.Tensor:
        """Shapes -> (left, top, right, bottom) as shares of the picture's sides."""
        offsets, logs = shapes.flatten(2).chunk(2, 1)
        centres, halves = self.centres + offsets, logs.exp() / 2
        return torch.cat([centres - halves, centres + halves], 1).transpose(1, 2) / self.sides


def targets(boxes: Array, kinds: Array) -> tuple[Array, Array]:
    """(heat [3, 30, 40], shapes [5, 30, 40]) of one photo; the fifth is 1 where an object has its centre."""
    heat, shapes = np.zeros((KINDS, ROWS, COLUMNS), np.float32), np.zeros((5, ROWS, COLUMNS), np.float32)
    y, x = np.mgrid[:ROWS, :COLUMNS] + 0.5
    for (left, top, right, bottom), kind in zip(boxes * [COLUMNS, ROWS, COLUMNS, ROWS], kinds, strict=True):
        width, height = right - left, bottom - top
        column, row = min(int((left + right) / 2), COLUMNS - 1), min(int((top + bottom) / 2), ROWS - 1)
        spread = max(0.5, np.sqrt(width * height) / 8)
        bump = np.exp(-((x - column - 0.5) ** 2 + (y - row - 0.5) ** 2) / (2 * spread**2))
        heat[kind] = np.maximum(heat[kind], bump)
        offset = ((left + right) / 2 - column - 0.5, (top + bottom) / 2 - row - 0.5)
        shapes[:, row, column] = (*offset, np.log(width), np.log(height), 1)
    return heat, shapes


def training(progress: Progress) -> tuple[Array, Array, Array]:
    """(images uint8, heat, shapes) of the training photos."""
    cells.BCCD.folder(progress)
    photos = data.load()[0]
    heat, shapes = zip(*(targets(boxes, kinds) for boxes, kinds in photos.truth), strict=True)
    return photos.images, np.stack(heat), np.stack(shapes)


def error(module: nn.Module, images: torch.Tensor, heat: torch.Tensor, shapes: torch.Tensor) -> torch.Tensor:
    """The penalty-reduced focal loss of the heat and the smooth L1 loss of the shapes, on photos flipped at random."""
    assert isinstance(module, CellsDetector)
    images, heat, shapes = flipped(images.float() / 255, heat, shapes)
    logits, told = module.maps(images)
    centres = shapes[:, 4:]
    near = smooth_l1_loss(told * centres, shapes[:, :4] * centres, reduction="sum")
    return (focal(logits, heat) + near) / centres.sum().clamp(min=1)


def focal(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Equation 1 of Objects as Points, with alpha 2 and beta 4, before its division by the number of objects."""
    there, surely = heat == 1, nn.functional.logsigmoid
    scores = logits.sigmoid()
    positive = (1 - scores) ** 2 * surely(logits) * there
    negative = (1 - heat) ** 4 * scores**2 * surely(-logits) * ~there
    return -(positive.sum() + negative.sum())


def flipped(
    images: torch.Tensor, heat: torch.Tensor, shapes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The whole batch from left to right, upside down, or not; each with a chance of a half."""
    for axis, offset in ((3, 0), (2, 1)):
        if torch.rand(()) < 0.5:
            images, heat, shapes = images.flip(axis), heat.flip(axis), shapes.flip(axis).clone()
            shapes[:, offset] *= -1
    return images, heat, shapes


def map50(predict: Predict, overlap: float | None = 0.45) -> Score:
    """Mean over the three kinds of the average precision at an overlap of a half; held-out photos."""
    held_out = data.load()[1]
    found = []
    for start in range(0, len(held_out.images), 16):
        outputs = predict({"image": data.as_input(held_out.images[start : start + 16])})
        found += [detections(b, s, overlap=overlap) for b, s in zip(outputs["boxes"], outputs["scores"], strict=True)]
    return Score("mAP50", mean_average_precision(found, held_out.truth, KINDS))


FIT = Loop((Stage(error, training, epochs=20, batch=16, learning_rate=8e-3, clip=10.0),))


def photos() -> list[Array]:
    """Held-out photos as a camera gives them, [120, 160, 3] uint8."""
    return [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in data.load()[1].images[:16]]


def seen(photo: Array) -> dict[str, Array]:
    return {"image": data.as_input(photo.transpose(2, 0, 1)[None])}


def task() -> Task:
    return Task(
        "cells_detector", CellsDetector, data.example, {"image": {0: "batch"}}, ("boxes", "scores"), data.calibration, map50,
        FIT, "detector of blood cells: boxes and scores", cells.LICENCE,
        processing=Processing(photos, seen, lambda outputs: detections(outputs["boxes"][0], outputs["scores"][0])),
    )  # fmt: skip

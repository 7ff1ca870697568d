"""Boxes: overlap, suppression, average precision, and what the detector is told and tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgedl.spec import Array
from edgedl.zoo import cells_detector
from edgedl.zoo._average_precision import area, average_precision, matched, mean_average_precision
from edgedl.zoo._boxes import Found, detections, iou, suppressed
from edgedl.zoo.cells_detector import COLUMNS, ROWS, CellsDetector, flipped, focal, targets
from edgedl.zoo.cells_detector_peaks import CellsDetectorPeaks

UNIT = np.array([[0.0, 0.0, 0.2, 0.2]], np.float32)


def at(*corners: tuple[float, float, float]) -> Array:
    """Squares by (left, top, side)."""
    return np.array([(x, y, x + side, y + side) for x, y, side in corners], np.float32)


def found(boxes: Array, scores: list[float], kinds: list[int]) -> Found:
    return Found(boxes, np.array(scores, np.float32), np.array(kinds))


@pytest.mark.parametrize(
    ("other", "shared"),
    [((0, 0, 0.2), 1.0), ((0.1, 0, 0.2), 1 / 3), ((0.2, 0, 0.2), 0.0), ((0.05, 0.05, 0.1), 0.25), ((0.5, 0.5, 0), 0.0)],
)
def test_overlap(other: tuple[float, float, float], shared: float) -> None:
    assert iou(UNIT, at(other))[0, 0] == pytest.approx(shared, abs=1e-6)


def test_suppression_is_greedy_and_by_kind() -> None:
    boxes = at((0, 0, 0.2), (0.02, 0, 0.2), (0.02, 0, 0.2), (0.5, 0.5, 0.2))
    assert suppressed(found(boxes, [0.9, 0.8, 0.7, 0.6], [0, 0, 1, 0]), 0.45, 9).tolist() == [0, 2, 3]
    assert suppressed(found(boxes, [0.9, 0.8, 0.7, 0.6], [0, 0, 1, 0]), 0.45, 2).tolist() == [0, 2]


@given(st.lists(st.tuples(*[st.floats(0, 0.8)] * 2, st.floats(0.01, 0.2), st.integers(0, 2)), max_size=20))
def test_what_stays_does_not_overlap(cells: list[tuple[float, float, float, int]]) -> None:
    boxes = at(*((x, y, side) for x, y, side, _ in cells)).reshape(-1, 4)
    scores = np.zeros((len(cells), 3), np.float32)
    for row, (*_, kind) in enumerate(cells):
        scores[row, kind] = 0.9 - row / 100
    kept = detections(boxes, scores)
    assert len(kept.scores) <= len(cells)
    assert (np.diff(kept.scores) <= 0).all()
    near = (iou(kept.boxes, kept.boxes) > 0.45) & (kept.kinds[:, None] == kept.kinds)
    assert not (near & ~np.eye(len(near), dtype=bool)).any()


def test_nothing_found() -> None:
    empty = detections(UNIT, np.zeros((1, 3), np.float32))
    assert empty.boxes.shape == (0, 4)
    assert average_precision([empty], [(UNIT, np.array([0]))], 0) == 0.0


def test_an_object_is_found_once() -> None:
    assert matched(at((0, 0, 0.2), (0.01, 0, 0.2), (0.6, 0, 0.2)), UNIT, 0.5).tolist() == [True, False, False]
    assert matched(UNIT, np.zeros((0, 4)), 0.5).tolist() == [False]


@pytest.mark.parametrize(
    ("right", "objects", "expected"),
    [
        ([1, 1], 2, 1.0),
        ([1, 0, 1], 2, 0.5 + 0.5 * 2 / 3),
        ([0, 1], 1, 0.5),
        ([0, 0], 3, 0.0),
        ([], 2, 0.0),
        ([1], 4, 0.25),
    ],
)
def test_area_under_precision_over_recall(right: list[int], objects: int, expected: float) -> None:
    assert area(np.array(right, bool), objects) == pytest.approx(expected)


def test_the_mean_is_over_the_kinds_that_there_are() -> None:
    truth = [(UNIT, np.array([0])), (at((0.5, 0.5, 0.1)), np.array([2]))]
    told = [found(UNIT, [0.9], [0]), found(UNIT, [0.9], [2])]
    assert mean_average_precision(told, truth, 3) == 0.5


def test_targets_lead_back_to_their_boxes() -> None:
    boxes = np.array([[0.1, 0.2, 0.3, 0.5], [0.6, 0.6, 0.9, 0.95], [0.98, 0.98, 1.0, 1.0]], np.float32)
    kinds = np.array([0, 1, 2])
    heat, shapes = targets(boxes, kinds)
    assert [int((heat[kind] == 1).sum()) for kind in range(3)] == [1, 1, 1]
    decoded = CellsDetector().boxes(torch.from_numpy(shapes[None, :4]))[0].numpy()
    scores = (heat * (heat == 1)).reshape(3, -1).T
    back = detections(decoded, scores)
    order = np.argsort(back.kinds)
    assert back.boxes[order] == pytest.approx(boxes, abs=1e-5)


def test_a_flip_flips_the_boxes_too() -> None:
    boxes = np.array([[0.1, 0.2, 0.3, 0.5]], np.float32)
    heat, shapes = (torch.from_numpy(part[None]) for part in targets(boxes, np.array([1])))
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        image, warm, told = flipped(torch.arange(4.0).reshape(1, 1, 2, 2), heat, shapes)
        place = int(warm[0, 1].flatten().argmax())
        box = CellsDetector().boxes(told[:, :4])[0, place].tolist()
        upside, mirrored = image[0, 0, 0, 0] >= 2, image[0, 0, 0, 0] % 2 == 1
        expected = [0.7 if mirrored else 0.1, 0.5 if upside else 0.2, 0.9 if mirrored else 0.3, 0.8 if upside else 0.5]
        assert box == pytest.approx(expected, abs=1e-5)
        seen.add((bool(upside), bool(mirrored)))
    assert len(seen) == 4


def test_focal_loss_is_nothing_for_the_truth_and_finite_far_from_it() -> None:
    heat = torch.zeros(1, 3, ROWS, COLUMNS)
    heat[0, 1, 4, 5] = 1.0
    assert focal((heat * 2 - 1) * 40, heat).item() == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(focal((1 - heat * 2) * 1e4, heat).item())


def test_the_peaks_of_the_graph_are_local_maxima_of_the_same_weights() -> None:
    torch.manual_seed(0)
    plain, peaks = CellsDetector().eval(), CellsDetectorPeaks().eval()
    peaks.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 120, 160)
    with torch.no_grad():
        boxes, scores = plain(image)
        same, kept = peaks(image)
    assert torch.equal(boxes, same)
    rows = scores.transpose(1, 2).reshape(2, 3, ROWS, COLUMNS).numpy()
    padded = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    expected = np.where(rows >= windows.max((4, 5)), rows, 0)
    assert np.array_equal(kept.transpose(1, 2).reshape(2, 3, ROWS, COLUMNS).numpy(), expected)
    assert 0 < (kept > 0).sum() < scores.numel() / 4


def test_a_few_steps_lower_the_loss() -> None:
    boxes, kinds = np.array([[0.2, 0.2, 0.5, 0.6]], np.float32), np.array([1])
    heat, shapes = (torch.from_numpy(np.stack([part] * 4)) for part in targets(boxes, kinds))
    images = torch.full((4, 3, 120, 160), 128, dtype=torch.uint8)
    torch.manual_seed(0)
    module = CellsDetector()
    optimizer = torch.optim.AdamW(module.parameters(), 0.01)
    losses = []
    for _ in range(4):
        loss = cells_detector.error(module, images, heat, shapes)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

"""Parts of an output, and what varies with the input."""

from __future__ import annotations

import numpy as np
import pytest

from edgedl.schemes import SCHEMES
from edgedl.spec import Array
from edgedl.verify.slices import Joined, Part, Run, judged

FLOAT, INT8 = SCHEMES["fp32"].tolerance, SCHEMES["w8a8"].tolerance
GENERATOR = np.random.default_rng(0)


def noise(*shape: int) -> Array:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def failures(got: Array, want: Array, joined: Joined | None = None, tolerance=INT8) -> list[Part]:
    return [part for part in judged("y", [Run(got, want, joined)], tolerance) if part.failure]


def boxes_and_scores() -> tuple[Array, Joined]:
    want = np.concatenate([320 + 100 * noise(8, 4, 50), 0.5 + 0.1 * noise(8, 6, 50)], 1)
    labels = np.broadcast_to(np.arange(10)[:, None] >= 4, want.shape).astype(int)
    return want, Joined(labels, {0: "net.py:5", 1: "net.py:5"})


def test_scores_that_are_lost_beside_boxes_close_the_gate() -> None:
    want, joined = boxes_and_scores()
    got = want.copy()
    got[:, 4:] = 0
    (worst,) = failures(got, want, joined)
    assert (worst.where, worst.line) == ("[:, 4:10]", "net.py:5")
    assert worst.name == "output 'y'[:, 4:10] (joined at net.py:5)"
    assert worst.relative_rms == pytest.approx(1)


def test_without_a_concatenation_small_channels_are_a_part() -> None:
    want, _ = boxes_and_scores()
    got = want.copy()
    got[:, 4:] = 0
    assert [part.where for part in failures(got, want)] == ["[:, (4, 5, 6, 7, ...)]"]
    assert failures(want * np.float32(1 + 1e-7), want, tolerance=FLOAT) == []


def test_probabilities_have_no_small_channels() -> None:
    want = np.tile(np.array([0.999, 0.0005, 0.0005], np.float32), (8, 1)) + np.abs(1e-3 * noise(8, 3))
    parts = judged("y", [Run(want, np.clip(want, 0, 1))], INT8)
    assert [part.where for part in parts] == [""]


def test_the_error_is_held_against_what_varies() -> None:
    want = 300 + 0.1 * noise(16, 5)
    (whole,) = failures(np.full_like(want, 300), want)
    assert whole.variation == pytest.approx(1, abs=0.1)
    assert "of what varies with the input, over the tolerance 0.5" in whole.failure


def test_float_noise_is_never_held_against_a_file() -> None:
    want = 300 + 1e-3 * noise(16, 5)
    (part, *_) = judged("y", [Run(np.nextafter(want, np.inf), want)], FLOAT)
    assert not part.failure
    assert part.variation == 0


def test_rows_and_batches_are_inputs() -> None:
    one = [Run(noise(1, 5), noise(1, 5)) for _ in range(3)]
    (part, *_) = judged("y", one, INT8)
    assert part.varies == pytest.approx(1, abs=0.5)
    (alone, *_) = judged("y", one[:1], INT8)
    assert alone.varies is alone.variation is None


def test_constant_is_the_same_for_every_input() -> None:
    want = np.tile(noise(1, 5), (8, 1))
    (part, *_) = judged("y", [Run(want, want)], INT8)
    assert part.constant
    (zeros, *_) = judged("y", [Run(want * 0, want * 0)], INT8)
    assert zeros.constant


def test_infinities_of_both_count_nothing() -> None:
    want = noise(8, 5)
    want[:, 2] = -np.inf
    assert failures(want, want, tolerance=FLOAT) == []


@pytest.mark.parametrize("want", [np.zeros((4, 0), np.float32), np.arange(4), np.ones(4, bool), np.float32(3)])
def test_any_kind_of_output(want: Array) -> None:
    want = np.asarray(want)
    assert failures(want, want) == []

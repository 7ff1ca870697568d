from __future__ import annotations

import numpy as np
import pytest

from edgedl.batching import batched, fixed_batch, take_rows
from edgedl.spec import Feeds, TensorSpec


def spec(*shape: int | str, name: str = "x") -> TensorSpec:
    return TensorSpec(name, shape, "float32")


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 9])
def test_chunks_of_a_fixed_batch_give_every_row_once(rows: int) -> None:
    seen: list[int] = []

    def run(feeds: Feeds) -> dict[str, np.ndarray]:
        seen.append(len(feeds["x"]))
        return {"y": feeds["x"] * 2}

    x = np.arange(rows, dtype=np.float32)
    assert batched(run, (spec(4),))({"x": x})["y"].tolist() == (2 * x).tolist()
    assert set(seen) == {4}


def test_a_dynamic_batch_is_run_as_it_is() -> None:
    feeds = {"x": np.zeros((7, 2))}
    assert batched(lambda given: dict(given), (spec("batch", 2),))(feeds)["x"] is feeds["x"]


def test_take_rows_goes_round() -> None:
    assert take_rows({"x": np.arange(3)}, 2, 4)["x"].tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("shapes", "rows", "batch"),
    [
        ([(4, 2)], [7], 4),
        ([(4, 2)], [4], None),
        ([("batch", 2)], [7], None),
        ([(4, 2), (4, 3)], [7, 7], 4),
        ([(4, 2), (5, 3)], [7, 7], None),
        ([(4, 2), (4, 3)], [7, 8], None),
        ([(4, 2), ()], [7, None], None),
    ],
)
def test_fixed_batch(shapes: list[tuple[int, ...]], rows: list[int | None], batch: int | None) -> None:
    specs = tuple(spec(*shape, name=str(n)) for n, shape in enumerate(shapes))
    feeds = {str(n): np.zeros(() if count is None else (count, 2)) for n, count in enumerate(rows)}
    assert fixed_batch(feeds, specs) == batch


def test_rank_zero_outputs_of_one_fitting_batch() -> None:
    assert batched(lambda feeds: {"loss": np.float32(3)}, (spec(4),))({"x": np.zeros(4)}) == {"loss": np.float32(3)}

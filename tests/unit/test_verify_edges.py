"""Edges of a proof on functions of numpy: what fails, what is told, and what is not held against a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from edgedl import Axis
from edgedl.errors import EngineFailed
from edgedl.schemes import SCHEMES
from edgedl.spec import Array, Feeds
from edgedl.verify import Evidence, prove
from edgedl.verify.edges import edge_plan

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((4, 6)).astype(np.float32)
MASK = np.array([[True, True, False], [True, False, False]])
Function = Callable[[Feeds], dict[str, Array]]


def of(function: Callable[[Array], Array]) -> Function:
    return lambda feeds: {"y": function(feeds["x"])}


def proven(
    candidate: Function, reference: Function, feeds: Mapping[str, Array] = {"x": X}, scheme: str = "fp32"
) -> Evidence:
    cases = {"batch 0": dict(feeds)}
    plan = edge_plan(cases, SCHEMES[scheme], {}, ())
    return prove(
        candidate, reference, cases, SCHEMES[scheme].tolerance, reference_name="numpy", engine="numpy", inputs="example", edges=plan
    )  # fmt: skip


def masked_mean(empty: float) -> Function:
    """The mean of what the mask shows; `empty` where it shows nothing."""

    def run(feeds: Feeds) -> dict[str, Array]:
        mask = feeds["mask"].astype(np.float32)
        count = mask.sum(1)
        mean = (mask * [1, 2, 3]).sum(1) / np.maximum(count, 1)
        return {"y": np.where(count > 0, mean, empty).astype(np.float32)}

    return run


def test_the_edges_of_floats_flags_and_integers() -> None:
    feeds: dict[str, Any] = {"x": X[:2], "mask": MASK, "ids": np.array([[3, 1], [2, 9]])}
    cases = edge_plan({"batch 0": feeds}, SCHEMES["fp32"], {}, ()).cases
    assert not cases["masks all False"]["mask"].any()
    assert cases["masks all True"]["mask"].all()
    assert cases["masks with a first row of False"]["mask"].tolist() == [[False] * 3, MASK[1].tolist()]
    assert cases["values times 8"]["x"].tolist() == (8 * X[:2]).tolist()
    assert {int(cases[f"integers at their {end}"]["ids"][0, 0]) for end in ("lowest", "highest")} == {1, 9}
    assert MASK.any() and feeds["mask"] is MASK


def test_batches_that_the_cases_leave_out_within_the_range_of_the_axis() -> None:
    axes = {"x": {0: Axis("batch", 1, 4)}}
    plan = edge_plan({"a": {"x": X[:1]}, "b": {"x": X}}, SCHEMES["fp32"], axes, ())
    assert [name for name in plan.cases if name.startswith("batch")] == ["batch=2", "batch=3"]
    assert not [
        name for name in edge_plan({"b": {"x": X}}, SCHEMES["fp32"], axes, ({"batch": 4},)).cases if "batch" in name
    ]


@pytest.mark.parametrize("scheme", ["fp32", "w8", "w8a8", "w8a8-dynamic"])
def test_a_file_without_numbers_where_the_original_has_some_is_not_proven(scheme: str) -> None:
    found = proven(masked_mean(np.nan), masked_mean(0), {"mask": MASK}, scheme)
    assert (
        found.failures[0]
        == "output 'y' at masks all False: 2 of 2 values are not finite, and all of the original's are"
    )
    assert found.only_edges


def test_a_hidden_row_that_is_given_a_mean_is_not_proven() -> None:
    found = proven(masked_mean(2), masked_mean(0), {"mask": MASK})
    assert "output 'y' at masks with a first row of False: the error is" in " ".join(found.failures)


def test_what_the_original_does_not_answer_is_told() -> None:
    def refuses_zeros(x: Array) -> Array:
        assert x.any()
        return x

    found = proven(of(lambda x: x), of(refuses_zeros))
    assert (found.failures, found.notes) == ((), ("not held at the edges: zeros (the original raises AssertionError)",))
    with np.errstate(invalid="ignore", divide="ignore"):
        divided = proven(of(lambda x: x / np.abs(x)), of(lambda x: x / np.abs(x)))
    assert divided.notes == ("not held at the edges: zeros (the original is not finite)",)


def test_ties_are_not_held_against_a_file() -> None:
    last = of(lambda x: x.shape[1] - 1 - x[:, ::-1].argmax(1))
    found = proven(last, of(lambda x: x.argmax(1)))
    assert found.passed
    assert found.notes[-1].startswith("not held at the edges: zeros (the original itself moves")


def test_large_values_are_held_for_float_files_and_not_for_static_ones() -> None:
    def clipped(x: Array) -> Array:
        return np.clip(x, -4, 4)

    assert "at values times 8" in proven(of(clipped), of(lambda x: x)).failures[0]
    assert proven(of(clipped), of(lambda x: x), scheme="w8a8").passed


def test_a_file_that_does_not_run_at_an_edge_is_not_proven() -> None:
    def refuses(x: Array) -> Array:
        if not x.any():
            raise EngineFailed("no")
        return x

    assert proven(of(refuses), of(lambda x: x)).failures == (
        "at zeros: the file does not run, and the original does: no",
    )


def test_a_small_output_is_held_against_its_size_on_real_inputs() -> None:
    assert proven(of(lambda x: 2 * x + 1e-6), of(lambda x: 2 * x + np.float32(1e-9))).passed


def test_a_second_call_gives_the_same_and_inputs_are_not_written_to() -> None:
    calls = iter(range(100))
    drifting = proven(of(lambda x: x * np.float32(1 + 5e-5 * next(calls))), of(lambda x: x))
    assert "output 'y' differs when the same inputs are run again" in drifting.failures

    def writes(x: Array) -> Array:
        before = x.copy()
        x += 1
        return before

    assert "the file writes into its input 'x'" in proven(of(writes), of(lambda x: x.copy()), {"x": X.copy()}).failures


def test_edges_count_for_no_figure_of_the_real_inputs() -> None:
    found = proven(of(lambda x: x), of(lambda x: x))
    assert [parity.case for parity in found.parity] == ["batch 0"]
    assert {edge.case for edge in found.edges} == {"zeros", "values times 8", "values negated"}

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from foreign_models import constant, info, model, node, saved, tensor, values
from onnx import TensorProto

from edgedl.errors import EngineFailed, InvalidInput
from edgedl.exporter import Description
from edgedl.quantizing import quantize
from edgedl.registry import exporter
from edgedl.runtime import Session
from edgedl.seeded_inputs import ROWS, seeded_inputs
from edgedl.spec import Feeds, TensorSpec, axis_names


class Picky(Session):
    """A model that takes some shapes."""

    def __init__(self, takes: Callable[[tuple[int, ...]], bool], *specs: TensorSpec) -> None:
        super().__init__(specs, (), "engine 1.0", "cpu")
        self.takes = takes

    def _invoke(self, feeds: Feeds) -> dict[str, np.ndarray]:
        if not all(self.takes(np.shape(array)) for array in feeds.values()):
            raise EngineFailed("the padding is too long")
        return {}


def shapes(session: Session, *texts: str) -> list[str]:
    return [str(inputs) for inputs in seeded_inputs(session, "net.onnx", {}, texts)]


def test_lengths_are_found_by_trying() -> None:
    series = TensorSpec("x", ("N", 1, "time"), "float32")
    assert shapes(Picky(lambda shape: True, series)) == [f"x={ROWS}x1x16", f"x={ROWS}x1x32"]
    assert shapes(Picky(lambda shape: shape[2] >= 50, series)) == [f"x={ROWS}x1x64", f"x={ROWS}x1x128"]
    assert shapes(Picky(lambda shape: shape[2] < 5, series)) == [f"x={ROWS}x1x4", f"x={ROWS}x1x2"]
    assert shapes(Picky(lambda shape: shape[0] == 1, series)) == ["x=1x1x16", "x=1x1x32"]


def test_what_is_only_called_alike_is_no_batch() -> None:
    assert axis_names("x", ("None", 3, "None", None)) == ("batch", 3, "x_2", "x_3")
    assert axis_names("x", ("", "?", "unk__12", "N", "N")) == ("batch", "x_1", "x_2", "N", "x_4")
    assert axis_names("x", ("batch", "sequence_length")) == ("batch", "sequence_length")
    image = TensorSpec("x", ("?", 3, "?", "?"), "float32")
    assert shapes(Picky(lambda shape: shape[2] >= 32, image)) == [f"x={ROWS}x3x32x32", f"x={ROWS}x3x64x64"]


def test_a_shape_that_is_given_is_taken_or_refused() -> None:
    series = TensorSpec("x", ("N", 1, "time"), "float32")
    session = Picky(lambda shape: shape[2] >= 50, series)
    assert shapes(session, "x=1x1x60", "x=2x1x70") == ["x=1x1x60", "x=2x1x70"]
    with pytest.raises(
        InvalidInput, match=r"net\.onnx does not run on the shape given .*padding.*: give another --shape"
    ):
        shapes(session, "x=1x1x8")
    with pytest.raises(
        InvalidInput, match=r"--shape 'x=1x2x60' does not fit: the model takes x: float32\[N, 1, time\]"
    ):
        shapes(session, "x=1x2x60")


def test_nothing_runs() -> None:
    session = Picky(lambda shape: False, TensorSpec("x", ("N", "time"), "float32"))
    with pytest.raises(
        InvalidInput, match=r"does not run on made-up inputs.*padding.*--calibration rows.npz.*--shape x=64x64"
    ):
        shapes(session)


def test_axes_of_one_name_have_one_length() -> None:
    ids, mask = (TensorSpec(name, ("batch", "time"), "int64") for name in ("ids", "mask"))
    assert shapes(Picky(lambda shape: True, ids, mask), "ids=2x7") == ["ids=2x7,mask=2x7"]


def with_padding() -> object:
    pads = tensor("pads", np.array([0, 0, 7, 0, 0, 7]))
    nodes = [node("Pad", ["x", "pads"], ["p"], mode="reflect"), node("Conv", ["p", "w"], ["y"])]
    return model(
        nodes, [info("x", ["N", 1, "unk__1"])], [info("y", ["N", 16, None])], [pads, tensor("w", values(16, 1, 9))]
    )


def test_a_file_that_needs_length_is_proven_at_some(tmp_path: Path) -> None:
    made = quantize(saved(with_padding(), tmp_path), "w8", allow_slower=True, speed_check=False)
    assert made.manifest
    lengths = {tuple(parity["shape"]) for parity in made.manifest.evidence["parity"]}
    assert lengths == {(4, 16, 22), (4, 16, 38)}


def test_the_float_file_is_blamed_for_what_it_does_not_take(tmp_path: Path) -> None:
    source, rows = saved(with_padding(), tmp_path), tmp_path / "rows.npz"
    np.savez(rows, x=values(3, 1, 4))
    with pytest.raises(
        InvalidInput, match=r"the float file .*net\.onnx does not run on these inputs itself \(x \(\d+, 1, 4\)\)"
    ):
        quantize(source, "w8", calibration=str(rows), allow_slower=True, speed_check=False)
    with pytest.raises(InvalidInput, match="give one of them"):
        quantize(source, "w8", calibration=str(rows), shapes=("x=1x1x9",), allow_slower=True, speed_check=False)
    assert not list(tmp_path.glob("*.failed"))


def test_ids_stay_within_the_table(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["ids"], ["i"], to=TensorProto.INT64), node("Gather", ["table", "i"], ["e"]), constant("one", np.array([1])),
        node("Unsqueeze", ["ids", "one"], ["u"]), node("Gather", ["small", "u"], ["y"]), node("Identity", ["mask"], ["z"]),
    ]  # fmt: skip
    inputs = [info(name, ["N"], TensorProto.INT32) for name in ("ids", "mask")]
    outputs = [info("e", ["N", 8]), info("y", ["N", 1, 8]), info("z", ["N"], TensorProto.INT32)]
    source = saved(
        model(nodes, inputs, outputs, [tensor("table", values(30, 8)), tensor("small", values(20, 8))]), tmp_path
    )
    described: Description = exporter("onnx").describe(source)
    assert described.ranges == {"ids": (0, 19)}
    session = Picky(lambda shape: True, *described.inputs)
    drawn = np.concatenate([seeded_inputs(session, "net", described.ranges)[0].feeds(n)["ids"] for n in range(50)])
    assert drawn.min() == 0
    assert drawn.max() == 19

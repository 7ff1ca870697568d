from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedl import tensorfile
from edgedl.artifact import Artifact, golden_path
from edgedl.errors import InvalidInput
from edgedl.measure import InputChoice, Subject
from edgedl.spec import Array, Quantization, TensorSpec

OPEN = (TensorSpec("x", ("batch", 3), "float32"), TensorSpec("state", (2, "batch"), "float32"))


def _subject(path: Path, golden: dict[str, Array] | None = None) -> Subject:
    path.write_bytes(b"model")
    if golden:
        golden_path(path).write_bytes(tensorfile.encode({f"input/{name}": array for name, array in golden.items()}))
    return Subject(path.name, Artifact(path))


def _golden() -> dict[str, Array]:
    return {"x": np.arange(12, dtype=np.float32).reshape(4, 3), "state": np.arange(8, dtype=np.float32).reshape(2, 4)}


def test_golden_vectors_are_cut_to_one_row_on_every_axis_of_the_batch(tmp_path: Path) -> None:
    subject = _subject(tmp_path / "a.onnx", _golden())
    found = InputChoice([subject])(subject, OPEN)
    assert found.kind == "golden"
    assert found.feeds["x"].tolist() == [[0, 1, 2]]
    assert found.feeds["state"].tolist() == [[0], [4]]


def test_every_golden_row_takes_its_turn(tmp_path: Path) -> None:
    subject = _subject(tmp_path / "a.onnx", _golden())
    found = InputChoice([subject])(subject, OPEN)
    assert [feeds["x"][0, 0] for feeds in found.sets] == [0, 3, 6, 9]
    assert [feeds["state"].tolist() for feeds in found.sets] == [[[n], [n + 4]] for n in range(4)]
    pairs = InputChoice([subject], batch=2)(subject, OPEN)
    assert [feeds["x"][:, 0].tolist() for feeds in pairs.sets] == [[0, 3], [6, 9]]


def test_large_inputs_take_fewer_turns(tmp_path: Path) -> None:
    subject = _subject(tmp_path / "a.onnx", {"x": np.zeros((4, 3_000_000), np.float32)})
    found = InputChoice([subject])(subject, (TensorSpec("x", ("batch", 3_000_000), "float32"),))
    assert len(found.sets) == 2


def test_a_batch_beyond_the_golden_rows_repeats_them(tmp_path: Path) -> None:
    subject = _subject(tmp_path / "a.onnx", _golden())
    found = InputChoice([subject], batch=6)(subject, OPEN)
    assert found.feeds["x"][:, 0].tolist() == [0, 3, 6, 9, 0, 3]
    assert found.feeds["state"].shape == (2, 6)


def test_golden_vectors_of_one_format_serve_the_other(tmp_path: Path) -> None:
    one, other = _subject(tmp_path / "a.onnx", {"x": np.ones((1, 3), np.int64)}), _subject(tmp_path / "a.tflite")
    found = InputChoice([one, other])(other, (TensorSpec("x", (1, 3), "int32"),))
    assert (found.kind, found.feeds["x"].dtype, found.feeds["x"].tolist()) == ("golden", np.int32, [[1, 1, 1]])


def test_another_layout_is_fed_with_seeded_values(tmp_path: Path) -> None:
    one, other = _subject(tmp_path / "a.onnx", {"x": np.ones((1, 3, 8), np.float32)}), _subject(tmp_path / "a.tflite")
    specs = (TensorSpec("x", (1, 8, 3), "float32"),)
    found = InputChoice([one, other])(other, specs)
    assert (found.kind, found.feeds["x"].shape) == ("seeded", (1, 8, 3))
    assert np.array_equal(found.feeds["x"], InputChoice([other])(other, specs).feeds["x"])


def test_seeded_values_are_quantized_before_they_are_timed(tmp_path: Path) -> None:
    subject = _subject(tmp_path / "a.tflite")
    spec = TensorSpec("x", (1, 100), "int8", Quantization(0.05, 0))
    found = InputChoice([subject])(subject, (spec,))
    assert found.feeds["x"].dtype == np.int8
    assert 10 < found.feeds["x"].std() < 30


def test_given_shapes_are_taken(tmp_path: Path) -> None:
    subject = _subject(tmp_path / "a.onnx")
    found = InputChoice([subject], given=("x=2x5:float32",))(subject, (TensorSpec("x", ("batch", "time"), "float32"),))
    assert (found.kind, found.feeds["x"].shape) == ("given", (2, 5))


@pytest.mark.parametrize(
    ("batch", "given", "specs", "said"),
    [
        (4, (), (TensorSpec("x", (1, 3), "float32"),), "batch=4 was asked for, and the model fixes x: float32[1, 3]"),
        (
            None,
            (),
            (TensorSpec("x", (1, "time"), "float32"),),
            "leaves a length open: add, say, --input x=1x16:float32",
        ),
        (
            None,
            ("y=1x3",),
            (TensorSpec("x", (1, 3), "float32"),),
            "--input y: the model has the inputs x: float32[1, 3]",
        ),
        (0, (), OPEN, "batch=0: expected 1 or more"),
    ],
)
def test_what_cannot_be_fed_is_refused(
    tmp_path: Path, batch: int | None, given: tuple[str, ...], specs: tuple[TensorSpec, ...], said: str
) -> None:
    subject = _subject(tmp_path / "a.onnx")
    with pytest.raises(InvalidInput) as caught:
        InputChoice([subject], batch, given)(subject, specs)
    assert said in str(caught.value)


def test_a_task_brings_its_own_inputs(tmp_path: Path) -> None:
    from edgedl.reference import TaskReference

    source = tmp_path / "task_for_inputs.py"
    source.write_text(
        "import numpy as np\nfrom edgedl.task import Task\n"
        "task = Task('t', lambda: None, lambda: {'x': np.full((2, 3), 7, 'float32')})\n"
    )
    subject = Subject("t", TaskReference(f"{source}:task"), "torch")
    found = InputChoice([subject])(subject, (TensorSpec("x", ("batch", 3), "float32"),))
    assert (found.kind, found.feeds["x"].tolist(), len(found.sets)) == ("task", [[7, 7, 7]], 2)

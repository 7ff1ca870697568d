from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedl import calibration
from edgedl.errors import InvalidInput, InvalidTensor
from edgedl.spec import TensorSpec

X = TensorSpec("x", ("batch", 2), "float32")
FIXED = TensorSpec("x", (4, 2), "float32")


def rows(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def test_sources_npy_npz_and_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows(3))
    np.savez(tmp_path / "b.npz", x=rows(2))
    for source, lengths in (("a.npy", [3]), ("b.npz", [2]), ("", [3, 2])):
        feeds = calibration.from_source(str(tmp_path / source), (X,))
        assert [len(f["x"]) for f in feeds()] == lengths
        assert [len(f["x"]) for f in feeds()] == lengths, "it can be read again"


@pytest.mark.parametrize("name", ["none.npz", "folder"])
def test_no_source(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match=r"expected an \.npz or \.npy file"):
        calibration.from_source(str(tmp_path / name), (X,))


def test_a_task_without_calibration(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text("from torch.nn import Linear\nnet = Linear(2, 2)\n")
    with pytest.raises(InvalidInput):
        calibration.from_source(f"{net}:net", (X,))


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY", b"PK\x03\x04 torn", b"\x80\x04N."])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"x\.npy"):
        calibration.read_arrays(path, (X,))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(InvalidInput, match="plain arrays"):
            calibration.read_arrays(tmp_path / name, (X,))


def test_one_array_for_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(1))
    with pytest.raises(InvalidInput, match=r"np\.savez"):
        calibration.read_arrays(tmp_path / "x.npy", (X, X))


@pytest.mark.parametrize(("samples", "batches"), [(1, 1), (16, 1), (17, 2), (40, 3), (1000, 3)])
def test_prepared_takes_the_first_rows_in_batches_of_sixteen(samples: int, batches: int) -> None:
    feeds = calibration.prepared(lambda: [{"x": rows(40)}], (X,), samples)
    assert [len(f["x"]) for f in feeds()] == [16] * batches
    assert np.array_equal(next(iter(feeds()))["x"], rows(16))


def test_prepared_fits_a_fixed_batch() -> None:
    feeds = list(calibration.prepared(lambda: [{"x": rows(6)}, {"x": rows(1)}], (FIXED,), 100)())
    assert [f["x"].shape for f in feeds] == [(4, 2)] * 3


def test_prepared_refuses_nothing_and_wrong_inputs() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        calibration.prepared(list, (X,), 10)
    with pytest.raises(InvalidTensor, match="float64"):
        calibration.prepared(lambda: [{"x": rows(4).astype(float)}], (X,), 10)
    with pytest.raises(InvalidTensor, match="expected the inputs x"):
        calibration.prepared(lambda: [{"y": rows(4)}], (X,), 10)


def test_random_is_seeded_and_fits() -> None:
    specs = (X, TensorSpec("n", (3,), "int64"), TensorSpec("m", (2,), "bool"))
    first, again = (list(calibration.random(specs, 3)()) for _ in range(2))
    assert len(first) == 3
    assert all(np.array_equal(a[n], b[n]) for a, b in zip(first, again, strict=True) for n in a)
    assert [(a.shape, a.dtype.name) for a in first[0].values()] == [
        ((1, 2), "float32"),
        ((3,), "int64"),
        ((2,), "bool"),
    ]
    assert not np.array_equal(first[0]["x"], first[1]["x"])

"""Where the ranges of static quantization come from. Never from noise, unless that is asked for by name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from edgedl.batching import take_rows
from edgedl.errors import InvalidInput
from edgedl.exporter import Calibration
from edgedl.reference import TaskReference
from edgedl.runtime import accept, is_reference
from edgedl.spec import Array, Feeds, InputOption, TensorSpec
from edgedl.task import Task

SAMPLES = 256
"""Rows used where the user does not say how many."""


def from_task(task: Task) -> Calibration | None:
    return task.calibration


def from_source(source: str, specs: tuple[TensorSpec, ...]) -> Calibration:
    """`inputs.npz` (arrays by input name), `x.npy` (the only input), a folder of either, or a task reference."""
    if is_reference(source):
        task = TaskReference(source).resolve()
        if task.calibration is None:
            raise InvalidInput(f"--calibration {source}: that task has no calibration inputs")
        return task.calibration
    path = Path(source)
    files = sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise InvalidInput(
            f"--calibration {source}: expected an .npz or .npy file, a folder of them, or a task reference"
        )
    return lambda: (read_arrays(file, specs) for file in files)


def read_arrays(path: Path, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """The arrays of an .npz by name, or of an .npy for the only input; InvalidInput otherwise. No pickles."""
    if not path.is_file():
        raise InvalidInput(f"no such file: {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                return {name: np.asarray(loaded[name]) for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(f"{path} is not a NumPy .npy or .npz file of plain arrays: {error}") from error
    if len(specs) != 1:
        raise InvalidInput(
            f"{path} holds one array and the model takes {', '.join(map(str, specs))}: save them with np.savez"
        )
    return {specs[0].name: loaded}


def random(specs: tuple[TensorSpec, ...], rows: int) -> Calibration:
    """Seeded noise in the model's shapes: for trying a pipeline out, never for a model that is shipped."""
    shapes = [tuple(n if isinstance(n, int) else 1 for n in spec.shape) for spec in specs]
    options = [
        InputOption(TensorSpec(s.name, shape, s.dtype), *((-np.inf, np.inf) if s.dtype.startswith("float") else (0, 1)))
        for s, shape in zip(specs, shapes, strict=True)
    ]
    return lambda: ({o.spec.name: o.sample(1000 * row + n) for n, o in enumerate(options)} for row in range(rows))


def prepared(source: Calibration, specs: tuple[TensorSpec, ...], samples: int) -> Calibration:
    """The first `samples` rows, in batches that the model takes and in its dtypes; InvalidInput if there are none."""

    def feeds() -> Iterator[Feeds]:
        yield from islice(_fitting(source(), specs, samples), samples)

    if next(iter(feeds()), None) is None:
        raise InvalidInput("the calibration source is empty")
    return feeds


def _fitting(batches: Iterable[Feeds], specs: tuple[TensorSpec, ...], samples: int) -> Iterator[Feeds]:
    left = samples
    for feeds in batches:
        if left <= 0:
            return
        rows, batch = _rows(feeds), _batch(specs)
        if rows is None or batch is None:
            yield accept(feeds, specs)
            left -= rows or 1
            continue
        for start in range(0, min(rows, left), batch):
            yield accept(take_rows(feeds, start, batch), specs)
        left -= rows


def _rows(feeds: Feeds) -> int | None:
    """The common length of the first axes, if there is one."""
    rows = {np.shape(array)[0] if np.ndim(array) else None for array in feeds.values()}
    return rows.pop() if len(rows) == 1 else None


def _batch(specs: tuple[TensorSpec, ...]) -> int | None:
    """How many rows one run takes: the fixed length of the first axes, 16 where it is dynamic, None where they differ."""
    first = {spec.shape[0] if spec.shape else None for spec in specs}
    batch = first.pop() if len(first) == 1 else None
    return 16 if isinstance(batch, str) else batch

"""A .pt2 file as a task. `torch.export.load` can run code from a crafted file, so it gets a clean copy; see `pt2_archive`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from edgedl.errors import InvalidReference
from edgedl.silence import silent
from edgedl.spec import Array, Axis
from edgedl.task import Task
from edgedl.tasks.pt2_archive import rewrite


def task(path: Path) -> Task:
    """The program with the inputs that it was exported with; InvalidReference if the file is missing, broken or unsafe."""
    if not path.is_file():
        raise InvalidReference(f"no such file: {path}")
    exported = _load(path)
    specs = exported.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in exported.graph.nodes if node.name in specs}
    inputs = {name: _example(value, index) for index, (name, value) in enumerate(values.items())}
    return Task(path.stem, exported.module, lambda: inputs, _dynamic(values), synthetic=True)


def _load(path: Path) -> torch.export.ExportedProgram:
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean.pt2"
        rewrite(path, clean)
        try:
            with silent():
                return torch.export.load(str(clean))
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InvalidReference(f"{path} is not a program saved by torch.export.save: {reason}") from error


def _example(value: torch.Tensor, seed: int) -> Array:
    """Seeded values of the traced shape (dynamic axes as 2) and dtype."""
    shape = tuple(n if isinstance(n, int) else 2 for n in value.shape)
    dtype = np.dtype(str(value.dtype).removeprefix("torch."))
    generator = np.random.default_rng(seed)
    return (
        generator.standard_normal(shape).astype(dtype)
        if dtype.kind == "f"
        else generator.integers(0, 2, shape).astype(dtype)
    )


def _dynamic(values: dict[str, torch.Tensor]) -> dict[str, dict[int, str | Axis]]:
    axes = {
        name: {n: Axis(str(length)) for n, length in enumerate(value.shape) if not isinstance(length, int)}
        for name, value in values.items()
    }
    return {name: dict(by_axis) for name, by_axis in axes.items() if by_axis}

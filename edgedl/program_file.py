"""A .pt2 file as a task. `torch.export.load` can run code from a crafted file, so the archive is looked through first."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedl.errors import InvalidReference
from edgedl.silence import silent
from edgedl.spec import Array, Axis
from edgedl.task import Task

MAX_BYTES = 8 << 30
"""Unpacked size over which a file is refused: a crafted archive can unpack to anything."""


def task(path: Path) -> Task:
    """The program with the inputs that it was exported with; InvalidReference if the file is missing, broken or unsafe."""
    if not path.is_file():
        raise InvalidReference(f"no such file: {path}")
    look_through(path)
    try:
        with silent():
            exported = torch.export.load(str(path))
    except Exception as error:
        raise InvalidReference(
            f"{path} is not a program saved by torch.export.save: {str(error).splitlines()[0]}"
        ) from error
    specs = exported.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in exported.graph.nodes if node.name in specs}
    inputs = {name: _example(value, index) for index, (name, value) in enumerate(values.items())}
    return Task(path.stem, exported.module, lambda: inputs, _dynamic(values), synthetic=True)


def look_through(path: Path) -> None:
    """InvalidReference if the archive holds a pickle with more than tensors, asks for pickled weights, or is too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise InvalidReference(f"{path} is refused: it unpacks to more than {MAX_BYTES >> 30} GiB")
            for member in archive.namelist():
                _look_at(path, member, archive.read(member))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidReference(f"{path} is not a whole .pt2 file: {error}") from error


def _look_at(path: Path, member: str, data: bytes) -> None:
    if member.endswith(".json") and _asks_for_pickle(json.loads(data or b"null")):
        raise InvalidReference(
            f"{path} is refused: {member} asks for pickled weights, which can run code; save it anew"
        )
    if not member.endswith((".pt", ".pkl")) or not data:
        return
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidReference(
            f"{path} is refused: {member} holds more than tensors, which could run code; save it anew"
        ) from error


def _asks_for_pickle(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value.get("use_pickle")) or any(map(_asks_for_pickle, value.values()))
    return isinstance(value, list) and any(map(_asks_for_pickle, value))


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

"""What a device is given to run a model: the core of edgedl and its engines' plugins, as plain Python files.

A device needs numpy and one engine beside it. The files carry edgedl's own entry points, so that the plugins are found there as
they are found here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from edgedl.artifact import Artifact, manifest_path
from edgedl.files import digest, publish, staging

_LEFT_OUT = ("cli", "report", "zoo", "targets", "pruning", "train", "tune")
"""folders of edgedl that no device needs"""
_ENGINES = ("edgedl_ort", "edgedl_litert")
_GOLDEN = "golden.safetensors"
"""which no engine needs: they stay here"""


def files() -> dict[str, bytes]:
    """Path below the folder that the device puts on its PYTHONPATH -> contents."""
    found = dict(_metadata())
    for package in ("edgedl", *_ENGINES):
        found.update(_package(package))
    return found


def install(parent: Path) -> Path:
    """The files in a folder of `parent` that is called by their digest; written once."""
    contents = files()
    target = parent / f"runner-{digest(contents)[:12]}"
    if not target.is_dir():
        with staging(parent) as stage:
            for name, data in contents.items():
                path = stage / target.name / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            publish(stage, parent)
    return target


def model_files(source: Artifact) -> list[Path]:
    """The model, its manifest and its external data, or all members of a group: what a device needs of an artifact."""
    if source.path.is_dir():
        return [path for path in sorted(source.path.rglob("*")) if path.is_file() and not path.name.endswith(_GOLDEN)]
    return [source.path, *(path for path in _beside(source.path) if path.is_file())]


def _beside(path: Path) -> tuple[Path, ...]:
    external = (f"{path.name}.data", f"{path.name}_data", f"{path.stem}.data")
    return (manifest_path(path), *(path.with_name(name) for name in external))


def _package(name: str) -> Iterator[tuple[str, bytes]]:
    spec = importlib.util.find_spec(name)
    assert spec and spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(root.rglob("*.py")):
        below = path.relative_to(root)
        if below.parts[0] not in _LEFT_OUT:
            yield f"{name}/{below.as_posix()}", path.read_bytes()


def _metadata() -> Iterator[tuple[str, bytes]]:
    own = distribution("edgedl")
    folder = f"edgedl-{own.version}.dist-info"
    for name in ("METADATA", "entry_points.txt"):
        yield f"{folder}/{name}", (own.read_text(name) or "").encode()

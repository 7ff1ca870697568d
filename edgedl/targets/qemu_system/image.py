"""The initramfs of one session: everything that the guest has lies in its memory, and nothing of the host's is shared with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.errors import Unavailable
from edgedl.isolated import ENVIRONMENT
from edgedl.sizes import size
from edgedl.targets import runner, state
from edgedl.targets.qemu.guests import QEMU_AARCH64
from edgedl.targets.qemu.sysroot import Sysroot
from edgedl.targets.qemu_system.archive import Entry, file, folder, tree, write
from edgedl.targets.qemu_system.boot import MODULES, Boot

_MOUNTED = ("proc", "sys", "dev", "tmp")
_NOT_NEEDED = ("gconv", "share")
_OTHER_ENGINE = {"onnx": "ai_edge_litert", "tflite": "onnxruntime"}
"""format -> the package of the engine that cannot load it"""
_ENVIRONMENT: Mapping[str, str] = {
    **ENVIRONMENT, "PYTHONHOME": "/usr", "PYTHONPATH": "/runner:/packages", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1",
    "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin",
}  # fmt: skip


def build(target: Path, source: Artifact, place: Sysroot, boot: Boot, budget: int) -> str:
    """Write the initramfs to `target`; the path of the model in the guest. Unavailable where there is no room for it."""
    try:
        with target.open("wb") as out:
            write(out, entries(source, place, boot, budget))
    except OSError as error:
        written = size(target.stat().st_size) if target.exists() else "0 B"
        raise Unavailable(
            f"cannot write the guest's file system below {place.folder.parent} ({error.strerror} after {written}): "
            f"it needs room for the engine and the model; {state.VARIABLE} moves the folder"
        ) from error
    return f"/model/{source.path.name}"


def entries(source: Artifact, place: Sysroot, boot: Boot, budget: int) -> Iterator[Entry]:
    """What the guest finds, folders before what is in them."""
    yield from map(folder, (*_MOUNTED, "bin", "modules"))
    yield file("init", Path(__file__).with_name("init.sh").read_bytes(), executable=True)
    yield file("order", order(budget))
    yield file("bin/busybox", boot.busybox, executable=True)
    for module in MODULES:
        yield file(f"modules/{module}.ko", boot.module(module))
    for name in ("lib", "usr", "etc"):
        yield from tree(place.ready / "root" / name, name, _NOT_NEEDED)
    yield from tree(place.packages, "packages", [_OTHER_ENGINE[source.format]])
    yield from tree(runner.install(place.folder), "runner", ["__pycache__"])  # else memory would tell what ran before
    yield from _model(source)


def _model(source: Artifact) -> Iterator[Entry]:
    found = {path.relative_to(source.path.parent): path for path in runner.model_files(source)}
    folders = {parent for path in found for parent in path.parents}
    yield from (folder(f"model/{path.as_posix()}".removesuffix("/.")) for path in sorted(folders))
    yield from (file(f"model/{name.as_posix()}", path) for name, path in found.items())


def order(budget: int) -> bytes:
    """What init.sh reads; see there."""
    worker = [f"{key}={value}" for key, value in _ENVIRONMENT.items()]
    words = {
        "BUDGET": str(budget),
        "MODULES": " ".join(MODULES),
        "WORKER": " ".join([*worker, f"/usr/bin/python{QEMU_AARCH64.python}", "-s", "-m", "edgedl.budgeted"]),
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in words.items()).encode()

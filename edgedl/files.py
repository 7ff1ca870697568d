"""Files that are whole or not there: temporary name, flush, rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgedl.errors import OutputExists

try:
    import fcntl
except ImportError:  # Windows, where nothing is swept
    fcntl = None  # type: ignore[assignment]

GRACE = 60.0
"""Seconds for which a staged folder may be without its lock"""

_STAGED = ".edgedl-"


def sha256(path: Path) -> str:
    """The hexadecimal digest of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest(contents: Mapping[str, bytes]) -> str:
    """The hexadecimal SHA-256 of names with their bytes, in whatever order they come."""
    found = hashlib.sha256()
    for name in sorted(contents):
        found.update(f"{name}\0{len(contents[name])}\0".encode() + contents[name])
    return found.hexdigest()


def refuse_existing(*paths: Path) -> None:
    """OutputExists if any of the paths is there."""
    for path in paths:
        if path.exists():
            raise OutputExists(
                f"{path} exists already and is never written over silently: add --force, or choose another -o"
            )


def make_folder(path: Path) -> Path:
    """The folder, made with its parents; OutputExists if it cannot be one or cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputExists(f"cannot make the folder {path}: {error.strerror}; choose another -o") from error
    if not os.access(path, os.W_OK):
        raise OutputExists(f"cannot write into {path}: permission denied; choose another -o")
    return path


def output_folder(path: Path) -> Path:
    """The folder that outputs will be published in: it is tried now and made then. OutputExists as in `make_folder`."""
    with made_folder(path):
        return path


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """The folder for a while; what had to be made of it goes again where it is still empty."""
    absent = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        make_folder(path)
        yield
    finally:
        for folder in absent:
            with contextlib.suppress(OSError):  # it holds something now, or was never made
                folder.rmdir()


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds all of it or what it held before."""
    write_files(path.parent, {path.name: data})


def write_files(target: Path, files: dict[str, bytes]) -> None:
    """Write several files by name; OutputExists, and none of them changed, where the disk is full or refuses."""
    with staging(target) as folder:
        try:
            for name, data in files.items():
                (folder / name).write_bytes(data)
        except OSError as error:
            raise OutputExists(f"cannot write {name} into {target}: {error.strerror}; nothing was changed") from error
        publish(folder, target)


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A hidden folder beside the outputs, removed at the end whatever happens; so is `parent`, if it is new and stays empty.

    It is locked while its process lives, so that the next one here can tell what a killed process left, and removes that.
    OutputExists for what is raised inside because the disk is full.
    """
    with made_folder(parent):
        sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=_STAGED, dir=parent))
        lock = _locked(folder)
        try:
            yield folder
        except OSError as error:
            if is_full(error, parent):
                raise OutputExists(f"cannot write into {parent}: {error.strerror}; nothing was changed") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def is_full(error: OSError, folder: Path) -> bool:
    """Whether the disk of `folder` takes no more, as far as the error tells: not all of them name a file."""
    inside = not isinstance(error.filename, str) or folder.resolve() in Path(error.filename).resolve().parents
    return inside and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def sweep(parent: Path) -> None:
    """Remove the staged folders that nobody holds; one younger than GRACE may be on its way to its lock."""
    for left in parent.glob(f"{_STAGED}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > GRACE and (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """An open descriptor that holds the folder's lock; None where another process does, or the file system has none."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def publish_folder(folder: Path, target: Path) -> None:
    """Flush the staged folder and rename it to `target`; what is there already moves into the staging area, to go with it."""
    try:
        for file in (*sorted(folder.iterdir()), folder):
            _flush(file)
        if target.exists():
            target.replace(folder.with_name(f"{folder.name}.old"))
        folder.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise OutputExists(f"cannot write {target}: {error.strerror}") from error


def publish(folder: Path, target: Path, rename: dict[str, str] | None = None) -> None:
    """Flush every file of the staging folder and rename it into `target`, under another name where `rename` has one."""
    try:
        for file in sorted(folder.iterdir()):
            _flush(file)
            file.replace(target / (rename or {}).get(file.name, file.name))
        _flush(target)
    except OSError as error:
        raise OutputExists(f"cannot write into {target}: {error.strerror}") from error

"""The archive that Linux unpacks as its first file system: cpio, in the format `newc`.

See https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgedl.errors import InvalidInput

_MAGIC = b"070701"
_MOST = (1 << 32) - 1
_END = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, folder or symbolic link (whose target is its data).

    name: its path without a leading slash. mode: type and permissions, as of os.stat. data: its bytes, or the file that
    holds them. modified: seconds since 1970.
    """

    name: str
    mode: int
    data: bytes | Path = b""
    modified: int = 0

    @property
    def size(self) -> int:
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)


def folder(name: str, modified: int = 0) -> Entry:
    """One that everybody may read. modified: seconds since 1970, here and below."""
    return Entry(name, stat.S_IFDIR | 0o755, modified=modified)


def file(name: str, data: bytes | Path, executable: bool = False, modified: int = 0) -> Entry:
    """One that everybody may read, and run if it is executable. data: its bytes, or the file that holds them."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data, modified)


def tree(source: Path, name: str, left_out: Iterable[str] = ()) -> Iterator[Entry]:
    """The folder `source` under another name, without the files and folders that are called as in `left_out`, wherever they lie."""
    for root, folders, files in os.walk(source):
        folders[:] = sorted(set(folders) - {*left_out})
        here = Path(root)
        below = (Path(name) / here.relative_to(source)).as_posix()
        yield folder(below, int(here.stat().st_mtime))
        links = [one for one in folders if (here / one).is_symlink()]
        for one in sorted({*files, *links} - {*left_out}):
            yield _leaf(here / one, f"{below}/{one}")


def _leaf(path: Path, name: str) -> Entry:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return Entry(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()), int(found.st_mtime))
    return file(name, path, bool(found.st_mode & 0o100), int(found.st_mtime))


def write(out: BinaryIO, entries: Iterable[Entry]) -> None:
    """All entries, in their order, and the end mark; a folder stands before what is in it.

    InvalidInput for a file of 4 GiB or more, which the format cannot hold.
    """
    for number, entry in enumerate(entries, start=1):
        _one(out, number, entry)
    _one(out, 0, Entry(_END, 0))


def _one(out: BinaryIO, number: int, entry: Entry) -> None:
    size = entry.size
    if size > _MOST:
        raise InvalidInput(f"{entry.name} has {size} bytes, and the guest's archive takes less than 4 GiB of one file")
    name = os.fsencode(entry.name) + b"\0"
    fields = (number, entry.mode, 0, 0, 1, entry.modified & _MOST, size, 0, 0, 0, 0, len(name), 0)
    out.write(_padded(_MAGIC + b"".join(b"%08X" % value for value in fields) + name))
    if isinstance(entry.data, Path):
        _copy(entry.data, size, out)
    else:
        out.write(_padded(entry.data))


def _padded(data: bytes) -> bytes:
    """To a multiple of 4 bytes."""
    return data + b"\0" * (-len(data) % 4)


def _copy(path: Path, size: int, out: BinaryIO) -> None:
    """In blocks; InvalidInput if the file is no longer as long as it was."""
    copied = 0
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            copied += len(block)
            out.write(block)
    if copied != size:
        raise InvalidInput(f"{path} changed while it was read: try again")
    out.write(b"\0" * (-size % 4))

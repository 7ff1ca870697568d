"""What was measured so far, on disk: an interrupted measurement goes on from its last whole block.

One line of JSON for each block behind its CRC-32; the first line says which measurement it is. A torn tail is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgedl.errors import Interrupted, InvalidInput, OutputExists
from edgedl.files import made_folder
from edgedl.measure.environment import environment
from edgedl.measure.plan import Plan, Subject
from edgedl.measure.record import SCHEMA_VERSION, Measured
from edgedl.measure.subjects import describe

KIND = "edgedl-benchmark-journal"


class Journal:
    """entries: the blocks that an earlier run of the same measurement left, in order."""

    def __init__(self, path: Path, header: dict[str, Any], entries: Sequence[Any]) -> None:
        self.path, self.entries, self.written = path, tuple(entries), len(entries)
        lines = "".join(map(_line, (header, *entries)))
        try:
            self._file = path.open("wb", buffering=0)
            self._put(lines)
        except OSError as error:
            if not entries:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise OutputExists(f"cannot write {path}: {error.strerror}; choose another -o") from error

    def append(self, entry: Any) -> None:
        """Written and flushed when this returns; OutputExists where the disk is full, and what was measured so far stays."""
        try:
            self._put(_line(entry))
        except OSError as error:
            raise OutputExists(f"cannot write {self.path}: {error.strerror}; choose another -o") from error
        self.written += 1

    def _put(self, text: str) -> None:
        data = text.encode()
        if self._file.write(data) != len(data):  # a disk that has room for a part of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())

    def close(self, keep: bool) -> None:
        """keep: leave it for a later run, where there is anything in it; only the first call counts."""
        if self._file.closed:
            return
        self._file.close()
        if not (keep and self.written):
            self.path.unlink()


@contextlib.contextmanager
def kept_in(
    path: Path, subjects: Sequence[Subject], plan: Plan, anew: bool = False, target: str = "local"
) -> Iterator[Journal]:
    """The journal of this measurement, with what an earlier run left; gone when all is measured.

    The same files, plan, target, packages and processor are the same measurement; InvalidInput for the journal of another one,
    unless `anew`. Interrupted says where it is kept.
    """
    with made_folder(path.parent):
        journal = _opened(path, [describe(subject) for subject in subjects], plan, anew, target)
        try:
            yield journal
        except KeyboardInterrupt as stop:
            journal.close(keep=True)
            if not journal.written:
                raise
            raise Interrupted(
                f"interrupted: what was measured is kept in {path}; the same command goes on from there"
            ) from stop
        finally:
            journal.close(keep=False)


def _opened(path: Path, subjects: Sequence[Measured], plan: Plan, anew: bool, target: str) -> Journal:
    there = environment()
    header = {
        "kind": KIND, "schema_version": SCHEMA_VERSION, "plan": asdict(plan), "cpu": there.cpu, "packages": there.packages,
        "target": target,
        "subjects": [[s.label, s.sha256, s.device, s.threads, s.options, s.affinity] for s in subjects],
    }  # fmt: skip
    header = json.loads(json.dumps(header))
    found = _read(path)
    if found and not anew and found[0] != header:
        raise InvalidInput(
            f"{path} is of {_difference(found[0], header)}: add --force to begin anew, or choose another -o"
        )
    same = bool(found) and found[0] == header
    return Journal(path, header, found[1:] if same else ())


def _difference(found: Any, header: dict[str, Any]) -> str:
    if not isinstance(found, dict) or found.get("kind") != KIND:
        return "no measurement"
    if found.get("schema_version") != SCHEMA_VERSION:
        return f"schema version {found.get('schema_version')!r}, expected {SCHEMA_VERSION}"
    return f"another measurement (its {next(key for key in header if found.get(key) != header[key])} differ)"


def _line(entry: Any) -> str:
    text = json.dumps(entry, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _read(path: Path) -> list[Any]:
    """The whole lines from the start."""
    entries: list[Any] = []
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True)
    except OSError:
        return entries
    for line in lines:
        checksum, _, text = line.partition(" ")
        if not line.endswith("\n") or checksum != f"{zlib.crc32(text.rstrip().encode()):08x}":
            break
        entries.append(json.loads(text))
    return entries

"""Data sets that are not bundled: found in a folder, in the cache, or downloaded; used only if the checksum is right.

Looked for in this order: $EDGEDL_DATA/NAME, as the public repository lays the files out (or its clone, called NAME);
the cache, ~/.cache/edgedl/NAME or $XDG_CACHE_HOME/edgedl/NAME; the archive behind the data set's URL, which is unpacked
into the cache. A folder gets its place in the cache by one rename, after its checksum was right.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.client
import os
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgedl.errors import InvalidArtifact, OutputExists, Unavailable
from edgedl.files import publish, staging
from edgedl.task import Progress

VARIABLE = "EDGEDL_DATA"
"""The environment variable that names the user's data folder; `--data DIR` of the command line sets it."""

TIMEOUT = 20.0
"""Seconds without an answer from the network."""

_BLOCK = 1 << 16


def no_progress(done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Dataset:
    """Files of one public repository.

    name: its folder. url: a zip archive. inside: the folder of the archive, below its single root, that holds the files.
    patterns: which files, as globs below that folder; each may lie there gzipped. sha256: see `digest`.
    size: bytes of the archive, about. licence: as the repository states it.
    """

    name: str
    url: str
    licence: str
    patterns: tuple[str, ...]
    sha256: str
    inside: str = ""
    size: int = 0

    def folder(self, progress: Progress = no_progress) -> Path:
        """Where the files are; downloads them if need be.

        InvalidArtifact if the checksum differs, Unavailable if they are nowhere and cannot be downloaded.
        """
        for place in self.places():
            if self.files(place):
                return _verified(self, place)
        return self._downloaded(progress)

    def places(self) -> list[Path]:
        """Where the files may be, the first choice first."""
        given = os.environ.get(VARIABLE)
        own = [Path(given) / self.name, Path(given) / self.name / self.inside] if given else []
        return [*own, cache() / self.name]

    def files(self, folder: Path) -> dict[str, Path]:
        """Name -> path of the files of the data set in `folder`; a gzipped file has the name of what it holds."""
        found = [path for pattern in self.patterns for path in _with_gzipped(folder, pattern)]
        return {path.relative_to(folder).as_posix().removesuffix(".gz"): path for path in sorted(found)}

    def digest(self, folder: Path) -> str:
        """SHA-256 of the lines `sha256  name` of all files, by name: what `sha256sum` prints, sorted."""
        lines = (f"{hashlib.sha256(read(path)).hexdigest()}  {name}\n" for name, path in self.files(folder).items())
        return hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode()).hexdigest()

    def _downloaded(self, progress: Progress) -> Path:
        with _writable(self), staging(cache()) as stage:
            archive, fresh = stage / "archive.zip", stage / self.name
            _download(self, archive, progress)
            self._unpack(archive, fresh)
            archive.unlink()
            if self.digest(fresh) != self.sha256:
                raise InvalidArtifact(
                    f"{self.url} does not hold the {self.name} that edgedl knows (checksum {self.digest(fresh)[:12]}, "
                    f"expected {self.sha256[:12]}): nothing was kept; give the files with --data DIR"
                )
            publish(stage, cache())
        return cache() / self.name

    def _unpack(self, archive: Path, folder: Path) -> None:
        """The files of the data set, and no others, by their names below `inside`."""
        try:
            with zipfile.ZipFile(archive) as packed:
                for member in packed.namelist():
                    if name := self._name_of(member):
                        target = folder / name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(packed.read(member))
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InvalidArtifact(f"{self.url} is not a whole zip archive ({error}): nothing was kept") from error

    def _name_of(self, member: str) -> str | None:
        """The name below `inside` of a wanted archive member; None for what is not wanted."""
        path = PurePosixPath(*PurePosixPath(member).parts[1:])
        if not path.is_relative_to(self.inside) or ".." in path.parts:
            return None
        name = path.relative_to(self.inside)
        wanted = any(name.match(p) and len(name.parts) == len(PurePosixPath(p).parts) for p in self.patterns)
        return str(name) if wanted else None


def cache() -> Path:
    """The folder of downloaded data sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgedl"


def read(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is gzipped; InvalidArtifact if it cannot be read or is cut short."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidArtifact(f"{path} cannot be read: {error}; copy or download it anew") from error


def _with_gzipped(folder: Path, pattern: str) -> Iterable[Path]:
    return [*folder.glob(pattern), *folder.glob(f"{pattern}.gz")]


@functools.cache
def _verified(dataset: Dataset, folder: Path) -> Path:
    """The folder, read through once in a process."""
    if (found := dataset.digest(folder)) != dataset.sha256:
        raise InvalidArtifact(
            f"{folder} does not hold the {dataset.name} that edgedl knows ({len(dataset.files(folder))} files, checksum "
            f"{found[:12]}, expected {dataset.sha256[:12]}): files are missing or altered; remove it to download them anew"
        )
    return folder


@contextlib.contextmanager
def _writable(dataset: Dataset) -> Iterator[None]:
    """OutputExists, with the way out, where the cache cannot be written: a full disk, a place that is none."""
    try:
        yield
    except (OSError, OutputExists) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition(";")[0]
        raise OutputExists(
            f"cannot keep the data set {dataset.name} in {cache()}: {reason}; nothing was kept; XDG_CACHE_HOME moves the cache"
        ) from error


def _download(dataset: Dataset, target: Path, progress: Progress) -> None:
    """Unavailable if there is no network or the connection breaks; OSError if the disk takes no more."""
    with target.open("wb") as file:
        done = 0
        for block, length in _blocks(dataset):
            done += file.write(block)
            progress(done, max(length or dataset.size, done))
        file.flush()


def _blocks(dataset: Dataset) -> Iterator[tuple[bytes, int]]:
    """(bytes, bytes of the whole or 0), one after the other."""
    try:
        with urllib.request.urlopen(dataset.url, timeout=TIMEOUT) as answer:
            length, done = int(answer.headers.get("Content-Length") or 0), 0
            while block := answer.read(_BLOCK):
                done += len(block)
                yield block, length
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(_not_had(dataset, _reason(error))) from error
    if done < length:
        raise Unavailable(_not_had(dataset, f"the connection broke after {done:,} of {length:,} bytes"))


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke"
    return str(getattr(error, "reason", None) or error)


def _not_had(dataset: Dataset, why: str) -> str:
    places = ", ".join(map(str, dict.fromkeys(dataset.places())))
    return (
        f"the data set {dataset.name} is not in {places}, and {dataset.url} cannot be downloaded ({why}): "
        f"give a folder that holds {dataset.name}/{dataset.patterns[0]} with --data DIR or {VARIABLE}"
    )

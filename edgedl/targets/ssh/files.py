"""What is brought to a board."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl import files
from edgedl.artifact import Artifact
from edgedl.targets import runner


@dataclass(frozen=True)
class Brought:
    """name: its path below the folder on the board. data: its bytes, or the file that holds them."""

    name: str
    data: bytes | Path

    @functools.cached_property
    def sha256(self) -> str:
        return files.sha256(self.data) if isinstance(self.data, Path) else hashlib.sha256(self.data).hexdigest()

    @property
    def size(self) -> int:
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)

    def told(self) -> dict[str, str | int]:
        """What board.Incoming is made of."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256}

    def blocks(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on."""
        with self.data.open("rb") if isinstance(self.data, Path) else io.BytesIO(self.data) as stream:
            stream.seek(start)
            while block := stream.read(1 << 16):
                yield block


def of_artifact(source: Artifact) -> tuple[str, tuple[Brought, ...]]:
    """(path of the model on the board, its files).

    The folder is called by the digest of them all, so that a file is brought once and never is another one.
    """
    parts = [Brought(path.relative_to(source.path.parent).as_posix(), path) for path in runner.model_files(source)]
    key = hashlib.sha256("".join(f"{part.name}\0{part.sha256}\0" for part in parts).encode()).hexdigest()[:24]
    brought = tuple(Brought(f"models/{key}/{part.name}", part.data) for part in parts)
    return f"models/{key}/{source.path.name}", brought


@functools.cache
def of_runner() -> tuple[str, Brought]:
    """(folder of the runner on the board, the archive that it is unpacked from)."""
    packed = archive(runner.files())
    name = f"runner-{hashlib.sha256(packed).hexdigest()[:12]}"
    return name, Brought(f"{name}.zip", packed)


def archive(contents: dict[str, bytes]) -> bytes:
    """A zip file, the same for the same contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in sorted(contents):
            opened.writestr(zipfile.ZipInfo(name), contents[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def of_wheels(folder: Path) -> Sequence[Brought]:
    return [Brought(f"wheels/{path.name}", path) for path in sorted(folder.glob("*.whl"))]

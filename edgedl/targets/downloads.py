"""What set-ups download: each file once, and checked again before it is used."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import sha256, write_atomic

_SAID = ("E:", "ERROR:", "npm error code")
"""how apt, pip and npm begin the line that says what went wrong"""


@dataclass(frozen=True)
class Downloads:
    """The folder of the downloads, and its list `downloads.json`: file name -> sha256."""

    folder: Path

    @property
    def _list(self) -> Path:
        return self.folder / "downloads.json"

    def recorded(self) -> dict[str, str]:
        """What was downloaded whole; {} where the list is missing or damaged, which only costs the download."""
        try:
            known = json.loads(self._list.read_text())
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in known.items()} if isinstance(known, dict) else {}

    def find(self, prefix: str, suffix: str) -> Path | None:
        """The recorded file of such a name, if its bytes are still the recorded ones."""
        for name, digest in self.recorded().items():
            path = self.folder / name
            if name.startswith(prefix) and name.endswith(suffix) and path.is_file() and sha256(path) == digest:
                return path
        return None

    def keep(self, fresh: Path) -> Path:
        """Take a whole file over from where it was downloaded, and write it down."""
        target = self.folder / fresh.name
        shutil.move(fresh, target)
        known = {**self.recorded(), target.name: sha256(target)}
        write_atomic(self._list, json.dumps(known, indent=1).encode())
        return target


def run(command: Sequence[str], folder: Path, otherwise: str) -> str:
    """Standard output of a command; Unavailable, with its last words, if it fails or is not installed."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise Unavailable(f"{otherwise}: cannot start {command[0]} ({error.strerror})") from error
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.startswith(_SAID)] or [done.stderr.strip()]
        raise Unavailable(f"{otherwise}: {said[-1].splitlines()[-1] if said[-1] else f'exit code {done.returncode}'}")
    return done.stdout

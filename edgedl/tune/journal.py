"""What a search has tried, on disk after each trial, so that an interrupted search goes on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgedl import strict_json
from edgedl.exporter import QuantizationOptions
from edgedl.files import write_atomic
from edgedl.tune.trial import Trial


class Journal:
    """One line of JSON for each trial, with a checksum; what stands behind a torn line is dropped.

    key: what the trials belong to; the journal of another key is begun anew.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._head = path, _line({"key": key})
        lines = path.read_text(errors="replace").splitlines(keepends=True) if path.is_file() else []
        kept = _whole(lines) if lines and lines[0] == self._head else []
        self.trials = [_trial(line) for line in kept[1:]]
        self._rewrite(kept or [self._head])

    def find(self, options: QuantizationOptions) -> Trial | None:
        """The last trial of these options: one on all examples comes after one on a part of them."""
        return next((trial for trial in reversed(self.trials) if trial.options == options), None)

    def add(self, trial: Trial) -> None:
        """Flushed before the search goes on."""
        self.trials.append(trial)
        with self.path.open("a") as file:
            file.write(_line(asdict(trial)))
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """The file; nothing happens where it is gone already."""
        self.path.unlink(missing_ok=True)

    def _rewrite(self, lines: list[str]) -> None:
        write_atomic(self.path, "".join(lines).encode())


def _line(value: dict[str, object]) -> str:
    text = " ".join(strict_json.dumps(value).split("\n"))
    return f"{_checksum(text)} {text}\n"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _whole(lines: list[str]) -> list[str]:
    """The lines before the first that is torn or altered."""
    for number, line in enumerate(lines):
        mark, _, text = line.rstrip("\n").partition(" ")
        if not line.endswith("\n") or mark != _checksum(text):
            return lines[:number]
    return lines


def _trial(line: str) -> Trial:
    fields = json.loads(line.partition(" ")[2])
    options: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields["options"].items()}
    infinite: dict[str, Any] = {key: float("inf") for key in ("excess", "relative_rms") if fields[key] is None}
    return replace(Trial(**fields), options=QuantizationOptions(**options), **infinite)

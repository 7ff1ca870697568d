"""Where a worker process runs: on this machine, under an emulator, on a board."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError
from edgedl.runtime import Source


@dataclass(frozen=True)
class Launch:
    """How one worker is started.

    command: its standard input and output are the worker's (see edgedl.worker). source: what the worker is asked to load:
    the path of the model file as it is called there, or the fields of a task reference. environment: added to this process's.
    """

    command: tuple[str, ...]
    source: str | Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


class Place(Protocol):
    """name: as in `--target`. here: whether it is this machine, with what is installed on it.

    A place starts workers and explains why one died; edgedl.isolated does the rest.
    """

    name: str
    here: bool

    def launch(self, source: Source) -> AbstractContextManager[Launch]:
        """Brings the model to where the worker finds it; leaving the context takes away what was brought."""

    def failure(self, code: int, said: str) -> EdgedlError | None:
        """What the exit code and the last words of the command mean here; None where they mean what they mean anywhere."""


class Here:
    """This machine and this environment."""

    name = "local"
    here = True

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        given = str(source.path) if isinstance(source, Artifact) else asdict(source)
        yield Launch((sys.executable, "-m", "edgedl.worker"), given)

    def failure(self, code: int, said: str) -> EdgedlError | None:
        return None


HERE = Here()

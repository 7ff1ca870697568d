"""All layers of the sandbox at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedl.sandbox import landlock, seccomp

EXTRA_MEMORY = 2_000_000_000
"""Bytes that a process may allocate over the size of its model, unless told otherwise."""
FILE_BYTES = 1 << 30
"""Size of the largest file that a confined process may write."""
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/opt",
    "/etc",
    "/proc",
    "/sys",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
)
_NO_NEW_PRIVILEGES = 38


@dataclass(frozen=True)
class Limits:
    """What a worker keeps.

    Attributes:
        memory: Bytes that it may allocate (RLIMIT_DATA: what is private and writable; a reservation costs nothing), or None.
        readable: Files and folders beside the system's and the interpreter's, as the model's folder.
        processes: Whether it may start processes, which are confined as it is.
    """

    memory: int | None
    readable: tuple[str, ...] = ()
    processes: bool = False


def confine(limits: Limits) -> Mapping[str, str]:
    """Give up every right that running a model does not need; the process cannot take them back.

    Call it before any thread is started: the layers hold for the calling thread and for what it starts.

    Returns:
        Layer -> `on`, with details, or `off: ` and the reason.
    """
    scratch = tempfile.gettempdir()
    readable = (*_SYSTEM, *_interpreter(), *limits.readable)
    layers: dict[str, Callable[[], str]] = {
        "memory": lambda: (
            "off: no limit was asked for" if limits.memory is None else _limit("RLIMIT_DATA", limits.memory)
        ),
        "file size": lambda: _limit("RLIMIT_FSIZE", FILE_BYTES),
        "files": lambda: landlock.restrict(readable, (scratch, "/dev/null", "/dev/shm", "/proc/self/clear_refs")),
        "system calls": lambda: seccomp.restrict(limits.processes),
    }
    _give_up_privileges()
    return {name: _applied(layer) for name, layer in layers.items()}


def _applied(layer: Callable[[], str]) -> str:
    try:
        return layer()
    except (OSError, ValueError, AttributeError, ImportError) as error:
        return f"off: {error}"


def _give_up_privileges() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _limit(name: str, bytes_: int) -> str:
    import resource

    number = getattr(resource, name)
    hard = resource.getrlimit(number)[1]
    allowed = bytes_ if hard == resource.RLIM_INFINITY else min(bytes_, hard)
    resource.setrlimit(number, (allowed, allowed))
    return f"on, {allowed:,} bytes"


def _interpreter() -> set[str]:
    """Folders of Python, its packages, and the libraries that the environment adds."""
    paths = {sys.prefix, sys.base_prefix, *sys.path, *sysconfig.get_paths().values()}
    paths |= set(os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return {path for path in paths if path and Path(path).is_absolute()}

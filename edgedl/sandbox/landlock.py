"""Landlock, Linux's access control without root: https://docs.kernel.org/userspace-api/landlock.html."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every processor
_PATH_BENEATH, _VERSION = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""version of the interface -> all rights that it knows"""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
READ = EXECUTE | READ_FILE | READ_DIR
_TCP, _SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def version() -> int:
    """The kernel's version of the interface; 0 where there is none."""
    try:
        return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _VERSION)))
    except (AttributeError, OSError):
        return 0


def restrict(readable: Iterable[str | Path], writable: Iterable[str | Path]) -> str:
    """Leave this thread, and what it starts from now on, these files alone, and no TCP.

    Args:
        readable: Files and folders that may be read and mapped; those that are not there are passed over.
        writable: Files and folders in which everything is allowed.

    Returns:
        What holds: `on, version 7`.

    Raises:
        OSError: Where the kernel has no Landlock, or refuses.
    """
    known = version()
    if not known:
        raise OSError("the kernel has no Landlock")
    rights = _RIGHTS[max(number for number in _RIGHTS if number <= known)]
    ruleset = _Ruleset(rights, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = ctypes.sizeof(ruleset) if known >= 6 else 16 if known >= 4 else 8
    descriptor = _checked(_libc().syscall(_CREATE_RULESET, ctypes.byref(ruleset), size, 0))
    try:
        for paths, allowed in ((readable, rights & (READ | IOCTL)), (writable, rights)):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    _allow(descriptor, path, allowed)
        _checked(_libc().syscall(_RESTRICT_SELF, descriptor, 0))
    finally:
        os.close(descriptor)
    return f"on, version {known}"


def _allow(ruleset: int, path: str | Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if Path(path).is_dir() else rights & _OF_FILES
        _checked(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(allowed, descriptor)), 0))
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

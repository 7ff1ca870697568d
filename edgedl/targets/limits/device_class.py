"""What may be asked of a device class, and how it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgedl.errors import InvalidInput, UnknownName
from edgedl.sizes import parse_size

EXAMPLE = "local:cpus=1,quota=25%,memory=64MB"


@dataclass(frozen=True)
class DeviceClass:
    """Limits of one process; None is no limit.

    cpus: how many processors it may run on. quota: share of their time, above 0 and up to 1. memory: bytes that it may hold.
    """

    cpus: int | None = None
    quota: float | None = None
    memory: int | None = None

    @property
    def processors(self) -> tuple[int, ...]:
        """Numbers of the processors that it may run on: the first of those that this process may use."""
        return tuple(sorted(os.sched_getaffinity(0))[: self.cpus])


def parse(detail: str) -> DeviceClass:
    """`KEY=VALUE,...` in any order; UnknownName for another key, InvalidInput for a value that makes no sense here."""
    found: dict[str, Any] = {}
    for part in detail.split(","):
        key, equals, value = part.partition("=")
        if key not in _READ:
            raise UnknownName("limit", key, _READ, f"(as {EXAMPLE})")
        if key in found or not equals:
            raise InvalidInput(f"--target local:{detail}: expected each limit once, as {EXAMPLE}")
        found[key] = _READ[key](value)
    return DeviceClass(**found)


def _cpus(text: str) -> int:
    most = len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise InvalidInput(f"cpus={text}: expected 1 to {most}, the processors that this process may use")
    return int(text)


def _quota(text: str) -> float:
    number = text.removesuffix("%")
    share = int(number[:9]) if number.isascii() and number.isdigit() and text.endswith("%") else 0
    if not 1 <= share <= 100:
        raise InvalidInput(f"quota={text}: expected 1% to 100%, the share of each processor's time")
    return share / 100


def parse_memory(text: str) -> int:
    """Bytes, from a number with a unit; InvalidInput for none, or more than this machine has."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = parse_size(text) if text[-1:] in ("B", "b") else None
    if size is None or not 1 <= size <= there:
        most = f"{there / 1e6:.0f}MB"
        raise InvalidInput(f"memory={text}: expected a number with a unit up to {most}, as 64MB, 512kB or 1GiB")
    return int(size)


_READ: dict[str, Callable[[str], Any]] = {"cpus": _cpus, "quota": _quota, "memory": parse_memory}

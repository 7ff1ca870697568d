"""Control groups, version 2 where it has the controllers, else version 1: where they can be made, and what they are told.

Nothing of the system's is changed: no controller is switched on, and a group goes when its process has ended.
See https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedl.targets.limits.device_class import DeviceClass

PREFIX = "edgedl"
PERIOD_US = 5_000
"""microseconds in which the quota is spent: at the system's 100 ms a run of milliseconds is either not slowed or stopped"""
LEAST_US = 1_000
"""the smallest quota that the kernel takes (min_cfs_quota_period)"""


@dataclass(frozen=True)
class Parent:
    """A folder in which groups can be made. controllers: `memory`, `cpu`, of those that are needed."""

    folder: Path
    version: int
    controllers: frozenset[str]

    def settings(self, limits: DeviceClass) -> dict[str, str]:
        """File -> what is written into it; those that only some kernels have are left out where they are not."""
        memory, (quota, period) = limits.memory or 0, bandwidth(limits)
        written: dict[tuple[str, int], dict[str, str]] = {
            ("memory", 2): {"memory.max": str(memory), "memory.swap.max": "0"},
            ("memory", 1): {"memory.limit_in_bytes": str(memory), "memory.memsw.limit_in_bytes": str(memory)},
            ("cpu", 2): {"cpu.max": f"{quota} {period}"},
            ("cpu", 1): {"cpu.cfs_period_us": str(period), "cpu.cfs_quota_us": str(quota)},
        }
        return {k: v for name in sorted(self.controllers) for k, v in written[name, self.version].items()}

    @property
    def kills(self) -> str:
        """The file of a group that counts, as `oom_kill N`, what the kernel killed in it."""
        return "memory.events" if self.version == 2 else "memory.oom_control"


_NEEDED = {
    ("memory", 2): "memory.max",
    ("memory", 1): "memory.limit_in_bytes",
    ("cpu", 2): "cpu.max",
    ("cpu", 1): "cpu.cfs_quota_us",
}
_OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes")


def bandwidth(limits: DeviceClass) -> tuple[int, int]:
    """(quota, period) in microseconds, of all its processors together."""
    share = limits.quota or 1.0
    period = max(PERIOD_US, round(LEAST_US / share))
    return round(share * period * len(limits.processors)), period


@functools.cache
def parents(wanted: frozenset[str]) -> tuple[Parent, ...]:
    """Where groups with these controllers can be made and joined: one folder, or in version 1 one for each; () if nowhere."""
    if found := _first(2, wanted):
        return (found,)
    each = [_first(1, frozenset([name])) for name in sorted(wanted)]
    return tuple(parent for parent in each if parent) if all(each) else ()


def _first(version: int, wanted: frozenset[str]) -> Parent | None:
    folders = _candidates(version, min(wanted)) if wanted else ()
    return next((p for folder in folders if _takes(p := Parent(folder, version, wanted))), None)


def _candidates(version: int, controller: str) -> Iterator[Path]:
    """The group of this process and those above it, as far as they are mounted."""
    for mount in _mounts(version, controller):
        own = mount / _own_path(version, controller).lstrip("/")
        folders = (own, *own.parents) if own.is_dir() else (mount,)
        yield from (folder for folder in folders if folder.is_relative_to(mount))


def _mounts(version: int, controller: str, table: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    with contextlib.suppress(OSError):
        fields = [line.split() for line in table.read_text().splitlines()]
        pairs = [(f[4], f[f.index("-") + 1], f[-1].split(",")) for f in fields if "-" in f]
        kind = {2: "cgroup2", 1: "cgroup"}[version]
        return [Path(at) for at, fs, options in pairs if fs == kind and (version == 2 or controller in options)]
    return []


def _own_path(version: int, controller: str, table: Path = Path("/proc/self/cgroup")) -> str:
    """Of the lines `ID:CONTROLLERS:PATH`; version 2 has no controllers there."""
    lines = [line.split(":", 2) for line in table.read_text().splitlines()]
    wanted = "" if version == 2 else controller
    return next((path for _, names, path in lines if wanted in names.split(",")), "/")


def _takes(parent: Parent) -> bool:
    """Whether a group can be made there, has the files, and can be joined; a process is sent in to see."""
    with contextlib.suppress(OSError), _folder(parent.folder) as group:
        if all(os.access(group / _NEEDED[name, parent.version], os.W_OK) for name in parent.controllers):
            join = ["sh", "-c", 'echo 0 > "$0"', str(group / "cgroup.procs")]
            return subprocess.run(join, capture_output=True).returncode == 0
    return False


@contextlib.contextmanager
def groups(limits: DeviceClass, places: tuple[Parent, ...]) -> Iterator[Mapping[Path, Parent]]:
    """One group in each of the places, with the limits; gone at the end."""
    with contextlib.ExitStack() as stack:
        made = {stack.enter_context(_folder(parent.folder)): parent for parent in places}
        for group, parent in made.items():
            for name, text in parent.settings(limits).items():
                if name not in _OPTIONAL or (group / name).exists():
                    (group / name).write_text(text)
        yield made


@contextlib.contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    _sweep(parent)
    folder = parent / f"{PREFIX}-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


def _sweep(parent: Path) -> None:
    """Take away the groups of edgedl processes that were killed; the kernel keeps those that are in use."""
    for folder in parent.glob(f"{PREFIX}-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(folder: Path) -> None:
    """The kernel lets a group go a moment after its last process."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if not folder.exists():
            break
        time.sleep(0.02)

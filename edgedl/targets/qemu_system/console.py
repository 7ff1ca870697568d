"""What the guest's console tells of how it ended."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from edgedl.errors import EdgedlError, EngineFailed
from edgedl.sizes import size
from edgedl.targets.qemu_system.device import Device

_ENDED = re.compile(r"^edgedl: ended (\d{1,3}) (\d{1,9})$")
_PANIC = re.compile(r"Kernel panic - not syncing: (.+?)(?:\.? {2}.*)?$")
"""what it gave up for, without the advice that follows after two spaces"""
_KERNEL = re.compile(r"^\[ *\d+\.\d+\] ?")
_SHELL = (
    "Killed",
    "Terminated",
    "Aborted",
    "Segmentation fault",
    "Illegal instruction",
    "Bus error",
    "Trace/breakpoint trap",
)
"""what busybox's shell adds when a signal ended the worker"""


@dataclass(frozen=True)
class Told:
    """started: whether the guest came as far as its worker. code: exit code of the worker, None if it did not end.

    kills: how many processes the kernel killed for memory. panic: what made the kernel give up, "" if nothing.
    last: the last line that the worker, or before it the system, said; "" if nothing.
    """

    started: bool
    code: int | None
    kills: int
    panic: str
    last: str


def read(text: str) -> Told:
    """From everything on the console, which may be cut off anywhere."""
    lines = [line for line in (_printable(line) for line in text.splitlines()) if line]
    ended = next((match for line in lines if (match := _ENDED.match(line))), None)
    panic = next((match[1].strip() for line in lines if (match := _PANIC.search(line))), "")
    said = [line for line in lines if not line.startswith("edgedl: ") and line not in _SHELL]
    own = [line for line in said if not _KERNEL.match(line)]
    started = "edgedl: started" in lines
    last = (own if started else own or [_KERNEL.sub("", line) for line in said])[-1:]
    return Told(
        started, int(ended[1]) if ended else None, int(ended[2]) if ended else 0, panic, last[0] if last else ""
    )


def _printable(line: str) -> str:
    return "".join(char for char in line if char.isprintable()).strip()


def explain(told: Told, device: Device, budget: int) -> EdgedlError:
    """Why the worker is gone. budget: bytes that it could have, asked for or not."""
    last = f": {told.last}" if told.last else ""
    if told.kills:
        more = "" if device.memory else " (memory=SIZE behind the core gives it another budget)"
        return EngineFailed(f"needed more than {size(budget)} and was killed{more}")
    if told.panic:
        return EngineFailed(f"{device.name}: the guest's kernel gave up: {told.panic}")
    if told.code is None:
        where = "stopped while the engine ran" if told.started else "did not start"
        return EngineFailed(f"{device.name}: the guest {where}{last}")
    return EngineFailed(f"{device.name}: the engine's process {_ended(told.code)}{last}")


def too_soon(told: Told, device: Device) -> EdgedlError:
    """The machine was ended from here while it booted."""
    last = f" (its last words: {told.last})" if told.last else ""
    return EngineFailed(
        f"{device.name}: ended before the guest had booted{last}: it needs a longer --timeout, or more free memory here"
    )


def _ended(code: int) -> str:
    """A shell tells a signal as 128 more than its number."""
    try:
        return f"crashed with {signal.Signals(code - 128).name}"
    except ValueError:
        return f"ended with exit code {code}"

"""What the system tells of another process (man proc), and that it ends with this one."""

from __future__ import annotations

import contextlib
import ctypes
import re
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Called in a child before it becomes its program: it is killed when the process that started it ends (man prctl)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """Processor time of its threads that are alive (the first number of schedstat is nanoseconds)."""
    return sum(int(text.split()[0]) for text in _of_threads(pid, "schedstat")) / 1e9


def preemptions(pid: int) -> int:
    """Involuntary context switches of its threads that are alive."""
    return sum(_field(text, "nonvoluntary_ctxt_switches") for text in _of_threads(pid, "status"))


def threads(pid: int) -> list[str]:
    """Names of its threads, of 15 characters at most."""
    return [text.strip() for text in _of_threads(pid, "comm")]


def peak_memory(pid: int) -> int:
    """Peak resident bytes since the last reset; 0 if it has ended."""
    with contextlib.suppress(OSError):
        return _field(Path(f"/proc/{pid}/status").read_text(), "VmHWM") * 1024
    return 0


def reset_peak(pid: int) -> int:
    """The peak up to now, and from now on a new one."""
    peak = peak_memory(pid)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak


def _of_threads(pid: int, name: str) -> list[str]:
    texts = []
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            texts.append((folder / name).read_text())
    return texts


def _field(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0

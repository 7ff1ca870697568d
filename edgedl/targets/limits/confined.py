"""The process between edgedl and a worker with limits: `python -I confined.py ORDER COMMAND...`, ORDER as JSON.

    {"join": [files that the worker's number is written into], "processors": [0], "kills": file or null, "watch": bytes or null}

kills: where the kernel counts what it killed for memory. watch: where no kernel does, anonymous memory (what the system cannot take
back) that is watched from here. Its exit code and signal are the worker's, but for OVER.
It is run as a file, so it uses nothing of edgedl's.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

OVER = 86
"""exit code: the worker needed more memory than it may have"""
POLL_SECONDS = 0.002
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """The worker's exit code, or OVER."""
    order, command = json.loads(sys.argv[1]), sys.argv[2:]
    worker = os.fork()
    if worker == 0:
        start(order, command)
    for stream in (0, 1):  # they are the worker's alone
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    status, over = wait(worker, order["watch"])
    if over or (order["kills"] and killed(Path(order["kills"]))):
        return OVER
    return mirror(status)


def start(order: dict[str, Any], command: list[str]) -> None:
    """Enter the groups, and become the worker; it dies with this process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, order["processors"])
    for file in order["join"]:
        Path(file).write_text("0")
    os.execv(command[0], command)


def wait(worker: int, most: int | None) -> tuple[int, bool]:
    """(status of the worker, whether it was killed here for its memory)."""
    if most is None:
        return os.waitpid(worker, 0)[1], False
    while not (ended := os.waitpid(worker, os.WNOHANG))[0]:
        if anonymous(worker) > most:
            os.kill(worker, signal.SIGKILL)
            return os.waitpid(worker, 0)[1], True
        time.sleep(POLL_SECONDS)
    return ended[1], False


def anonymous(process: int) -> int:
    """Resident bytes that are no file's (man proc_pid_statm: resident - shared)."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return 0
    return (int(pages[1]) - int(pages[2])) * resource.getpagesize()


def killed(counter: Path) -> bool:
    """Whether the file's `oom_kill N` is not 0."""
    found = re.search(r"^oom_kill (\d+)$", counter.read_text(), re.MULTILINE)
    return bool(found and int(found[1]))


def mirror(status: int) -> int:
    """The worker's exit code; where a signal ended it, the same signal ends this process."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())

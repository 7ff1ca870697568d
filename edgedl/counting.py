"""The worker under an emulator that counts: `python -m edgedl.counting`.

A mark is a system call that no program makes for another reason: the priority of a process of an impossible number.
edgedl/targets/qemu/count.c is the other end.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from edgedl.spec import Feeds
from edgedl.worker import Reply, Worker, serve

START, STOP = 0x65640001, 0x65640002


class CountingWorker(Worker):
    """Also answers `count`: `runs` runs, each between two marks, and where the code of the process lies."""

    def __init__(self) -> None:
        super().__init__()
        self.answers["count"] = self.count

    def count(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        run = self.session.run
        for _ in range(2):
            run(feeds)
        for _ in range(request["runs"]):
            mark(START)
            run(feeds)
            mark(STOP)
        return {"maps": Path("/proc/self/maps").read_text()}, {}


def mark(number: int) -> None:
    """Tell the emulator; no process has this number, so the call has no other effect."""
    with contextlib.suppress(OSError):
        os.getpriority(os.PRIO_PROCESS, number)


if __name__ == "__main__":
    serve(CountingWorker())

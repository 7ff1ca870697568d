"""The worker in a control group of its own (version 2): `python -m edgedl.budgeted`, as the guest of qemu-aarch64-system starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedl.spec import Feeds
from edgedl.worker import Reply, Worker, serve

MOUNT = Path("/sys/fs/cgroup")


class BudgetedWorker(Worker):
    """Also answers `charged`: the most bytes that its control group held, which is what a limit is held against."""

    def __init__(self) -> None:
        super().__init__()
        self.answers["charged"] = self.charged

    def charged(self, _: dict[str, Any], __: Feeds) -> Reply:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        return {"bytes": int((MOUNT / group.lstrip("/") / "memory.peak").read_text())}, {}


if __name__ == "__main__":
    serve(BudgetedWorker())

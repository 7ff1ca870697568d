"""The worker in a control group of its own (version 2): `python -m edgedl.budgeted`, as the guest of qemu-aarch64-system starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgedl.spec import Feeds
from edgedl.worker import Reply, Worker, serve

MOUNT = Path("/sys/fs/cgroup")


class BudgetedWorker(Worker):
    """Also answers `charged`: the most bytes that its control group held, which is what a limit is held against."""

    def __init__(self, table: Path = Path("/proc/self/cgroup")) -> None:
        super().__init__()
        self.group = MOUNT / table.read_text().strip().rpartition(":")[2].lstrip("/")
        self.answers["charged"] = self.charged

    def charged(self, _: dict[str, Any], __: Feeds) -> Reply:
        return {"bytes": int((self.group / "memory.peak").read_text())}, {}

    def environment(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        """Asked last: the budget is for the model, and not for reading what is installed."""
        (self.group / "memory.max").write_text("max")
        return super().environment(request, feeds)


if __name__ == "__main__":
    serve(BudgetedWorker())

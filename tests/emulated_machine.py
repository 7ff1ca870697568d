"""Stands in for qemu-system-aarch64: it unpacks the initramfs's model and is the guest's worker itself, in this machine's Python.

The file that the environment's EMULATED_MACHINE names tells how it goes, as JSON: {"console": text, "code": exit code, "dies": true, "hangs": true}.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedl import budgeted
from edgedl.spec import Feeds
from edgedl.worker import Reply, serve


@dataclass(frozen=True)
class Found:
    """One entry of an archive as it is read back."""

    mode: int
    modified: int
    data: bytes


def read_archive(blob: bytes) -> dict[str, Found]:
    """The entries of a cpio archive of the format newc, up to its end mark; AssertionError for what breaks the format."""
    at, found = 0, {}
    while True:
        assert blob[at : at + 6] == b"070701", f"no magic at {at}"
        fields = [int(blob[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, length = fields[6], fields[11]
        name = blob[at + 110 : at + 110 + length]
        assert name.endswith(b"\0")
        start = (at + 110 + length + 3) & ~3
        if name == b"TRAILER!!!\0":
            return found
        found[name[:-1].decode()] = Found(fields[1], fields[5], blob[start : start + size])
        assert len(blob) >= start + size
        at = (start + size + 3) & ~3


class StandIn(budgeted.BudgetedWorker):
    """Loads what the guest would find below /model."""

    def __init__(self, root: Path) -> None:
        table = root / "cgroup"
        table.write_text("0::/\n")
        (root / "memory.peak").write_text("20000000\n")
        budgeted.MOUNT = root
        super().__init__(table)
        self.root = root

    def load(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        return super().load({**request, "source": f"{self.root}{request['source']}"}, feeds)


def main() -> int:
    words = sys.argv[1:]
    archive = Path(words[words.index("-initrd") + 1])
    console = next(word.partition("path=")[2] for word in words if word.startswith("file,id=console"))
    told = json.loads(Path(os.environ["EMULATED_MACHINE"]).read_text())
    Path(console.replace(",,", ",")).write_text(told["console"])
    if told.get("hangs"):
        time.sleep(60)
    if told.get("dies") or told["code"]:
        print(told.get("said", ""), file=sys.stderr)
        return int(told["code"])
    with tempfile.TemporaryDirectory() as root:
        for name, entry in read_archive(archive.read_bytes()).items():
            if name.startswith("model/") and stat.S_ISREG(entry.mode):
                path = Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(entry.data)
        serve(StandIn(Path(root)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

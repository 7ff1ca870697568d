"""Node, asked by lines of JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from edgedl.errors import EngineFailed, Unavailable
from edgedl.targets.javascript.process import end_with_parent


def program() -> str | None:
    """Node's command, under one of its names."""
    return shutil.which("node") or shutil.which("nodejs")


class Node:
    """A process of Node with bench.mjs; it ends with its standard input."""

    def __init__(self, packages: Path, model: Path) -> None:
        node = program()
        if not node:
            raise Unavailable("node is not installed: apt-get install nodejs")
        self._process = subprocess.Popen(
            [node, str(Path(__file__).with_name("node.mjs")), str(packages), str(model)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent,
        )  # fmt: skip
        self.pid = self._process.pid
        self.version = f"Node {_version(node)}"

    def call(self, do: str, **request: Any) -> Any:
        """The value of one request; EngineFailed with what was thrown."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its missing answer tells
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EngineFailed(f"node crashed (exit code {self._process.wait()})")
        reply = json.loads(line)
        if "error" in reply:
            raise EngineFailed(reply["error"].strip().splitlines()[0])
        return reply["value"]

    def close(self) -> None:
        """End it and wait for it."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _version(node: str) -> str:
    return subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip().removeprefix("v")

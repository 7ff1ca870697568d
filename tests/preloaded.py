"""The `edgedl` command in a child of a process that has imported the heavy modules already: the same words, streams and exit codes, sooner.

Wrong calls are many and each would pay for the import again. Requests and replies are JSON lines on stdin and stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEAVY = ("torch._dynamo", "torch.onnx", "onnxscript", "onnxruntime", "sklearn.datasets", "edgedl.quantizing")


class Preloaded:
    """Calls edgedl as the installed command would be called."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory() as folder:
            streams = [str(Path(folder) / name) for name in ("stdout", "stderr")]
            print(
                json.dumps({"words": words, "cwd": str(cwd), "streams": streams}), file=self._process.stdin, flush=True
            )
            code = json.loads(self._process.stdout.readline())
            return subprocess.CompletedProcess(words, code, *(Path(file).read_text() for file in streams))


@contextmanager
def preloaded() -> Iterator[Preloaded]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("EDGEDL_")}
    arguments: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": clean}
    with subprocess.Popen([sys.executable, "-P", __file__], **arguments) as process:
        yield Preloaded(process)


def answer(request: dict[str, Any]) -> int:
    """The exit code of the words, called in a child."""
    child = os.fork()
    if not child:
        os.chdir(request["cwd"])
        for descriptor, file in enumerate(request["streams"], start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
        sys.argv[1:] = request["words"]
        try:
            main()
        except SystemExit as stop:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(stop.code if isinstance(stop.code, int) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for module in HEAVY:
        importlib.import_module(module)
    from edgedl.cli import main

    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)

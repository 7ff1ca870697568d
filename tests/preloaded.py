"""The `edgedl` command out of a process that has imported the heavy modules already: the same words, streams and exit codes, sooner.

Calls are many, and each would pay for the imports again. A program `edgedl` hands its words, environment and streams over a
socket to that process, which answers each call in a child.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HEAVY = (
    "torch._dynamo", "torch.onnx", "onnxscript", "onnxscript.function_libs.torch_lib.ops", "onnxruntime", "sklearn.datasets", "litert_torch",
    "edgedl_onnx.export", "edgedl_tflite.convert", "edgedl_tflite.quantize", "edgedl.quantizing", "edgedl.training",
)  # fmt: skip
PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = {{"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(call).encode() + b"\\n"], [0, 1, 2])
    sys.exit(int(server.recv(9) or 1))
"""


@contextmanager
def preloaded() -> Iterator[Path]:
    """The program, which can be called until the end."""
    with tempfile.TemporaryDirectory(prefix="edgedl-") as folder:
        address, program = str(Path(folder) / "socket"), Path(folder) / "edgedl"
        program.write_text(PROGRAM.format(python=sys.executable, address=address))
        program.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            words = [sys.executable, "-P", __file__, str(listener.fileno())]
            clean = {key: value for key, value in os.environ.items() if not key.startswith("EDGEDL_")}
            process = subprocess.Popen(words, pass_fds=[listener.fileno()], env=clean, stdin=subprocess.PIPE)
        with process:
            yield program


def answer(connection: socket.socket) -> None:
    """Sends the exit code of one call."""
    with connection:
        request, streams, *_ = socket.recv_fds(connection, 1 << 16, 3)
        while not request.endswith(b"\n"):
            request += connection.recv(1 << 16)
        child = os.fork()
        if not child:
            called(json.loads(request), streams)
        for stream in streams:
            os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(BrokenPipeError):  # of a caller that waits no longer
            connection.send(str(code).encode())


def called(call: dict[str, Any], streams: list[int]) -> None:
    """The installed command in this process, which it ends."""
    code = 1
    try:
        for descriptor, stream in enumerate(streams):
            os.dup2(stream, descriptor)
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
        sys.argv[1:] = call["words"]
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for module in HEAVY:
        importlib.import_module(module)
    from edgedl.cli import main

    with socket.socket(fileno=int(sys.argv[1])) as listener:
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:  # which is closed at the end
            answer(listener.accept()[0])

"""The clean process in which a model is loaded, run and measured: `python -m edgedl.worker`.

Requests and replies are safetensors blobs behind an 8-byte little-endian length, on standard input and output; the
metadata holds one JSON text under `json`. Whatever an engine prints goes to standard error. edgedl.isolated is the other end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from edgedl import tensorfile
from edgedl.errors import EdgedlError
from edgedl.spec import Array, Feeds

Reply = tuple[dict[str, Any], dict[str, Array]]


def send(stream: BinaryIO, message: dict[str, Any], tensors: Feeds) -> None:
    """Write one frame."""
    blob = tensorfile.encode(tensors, {"json": json.dumps(message)})
    stream.write(len(blob).to_bytes(8, "little") + blob)
    stream.flush()


def receive(stream: BinaryIO) -> Reply | None:
    """Read one frame; None where the other end has closed."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    blob = stream.read(int.from_bytes(head, "little"))
    tensors, metadata = tensorfile.decode(blob, "frame")
    return json.loads(metadata["json"]), tensors


class Worker:
    """Holds the one session of the process and answers requests."""

    def __init__(self) -> None:
        self.memory_before = peak_memory()
        self.answers: dict[str, Callable[[dict[str, Any], Feeds], Reply]] = {
            "load": self.load, "run": self.run, "measure": self.measure, "memory": self.memory,
            "environment": self.environment,
        }  # fmt: skip

    def load(self, request: dict[str, Any], _: Feeds) -> Reply:
        from edgedl.artifact import Artifact
        from edgedl.reference import TaskReference
        from edgedl.runtime import load

        given = request["source"]
        source = Artifact.open(given) if isinstance(given, str) else TaskReference.from_dict(given)
        start = time.perf_counter()
        self.session = load(source, request["runtime"], request["device"], request["threads"])
        seconds = time.perf_counter() - start
        specs = {
            "inputs": [asdict(s) for s in self.session.inputs],
            "outputs": [asdict(s) for s in self.session.outputs],
        }
        return {"engine": self.session.engine, "device": self.session.device, "load_seconds": seconds, **specs}, {}

    def run(self, _: dict[str, Any], feeds: Feeds) -> Reply:
        return {}, self.session.run(feeds)

    def measure(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        """Run until both `runs` and `seconds` are reached; wall nanoseconds of each run, CPU seconds of them all."""
        import numpy as np

        run, clock = self.session.run, time.perf_counter_ns
        samples = array("q")  # 8 bytes a run, to spare the peak memory
        cpu, end = time.process_time(), clock() + int(request["seconds"] * 1e9)
        switches = _preemptions()
        while len(samples) < request["runs"] or clock() < end:
            start = clock()
            run(feeds)
            samples.append(clock() - start)
        spent = time.process_time() - cpu
        figures = {"cpu_seconds": spent, "preemptions": _preemptions() - switches}
        return figures, {"wall_ns": np.frombuffer(samples, np.int64)}

    def memory(self, _: dict[str, Any], __: Feeds) -> Reply:
        """Peak resident bytes of the process, and what it was before the engine was imported."""
        return {"peak_bytes": peak_memory(), "base_bytes": self.memory_before}, {}

    def environment(self, _: dict[str, Any], __: Feeds) -> Reply:
        """The machine and the software, as edgedl.measure.Environment."""
        from edgedl.measure.environment import environment

        return asdict(environment()), {}

    def answer(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        try:
            return self.answers[request["do"]](request, feeds)
        except EdgedlError as error:
            return {"error": type(error).__name__, "message": str(error)}, {}
        except Exception as error:
            return {"error": "EngineFailed", "message": f"{type(error).__name__}: {error}"}, {}


def peak_memory() -> int:
    """Peak resident bytes of this process (VmHWM where /proc has it: ru_maxrss is inherited across exec)."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _preemptions() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def main() -> None:
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = Worker()
    while frame := receive(sys.stdin.buffer):
        send(replies, *worker.answer(*frame))


if __name__ == "__main__":
    main()

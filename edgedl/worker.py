"""The clean process in which a model is loaded, run and measured: `python -m edgedl.worker`.

Requests and replies are safetensors blobs behind an 8-byte little-endian length, on standard input and output; the
metadata holds one JSON text under `json`. Whatever an engine prints goes to standard error. edgedl.isolated is the other end.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from edgedl import tensorfile
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, Unsupported
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
        self.memory: dict[str, int] = {}
        self.answers: dict[str, Callable[[dict[str, Any], Feeds], Reply]] = {
            "load": self.load, "run": self.run, "feed": self.feed, "measure": self.measure, "memory": self.peaks,
            "environment": self.environment, "profile": self.profile,
        }  # fmt: skip

    def load(self, request: dict[str, Any], _: Feeds) -> Reply:
        """Import the engine, then load; the two are told apart in time and in memory."""
        from edgedl.artifact import Artifact
        from edgedl.reference import TaskReference
        from edgedl.runtime import engine_of, load
        from edgedl.sandbox.confine import Limits, confine

        layers = confine(Limits(**request["limits"])) if request.get("limits") else {}
        pin(request.get("affinity") or ())
        given = request["source"]
        source = Artifact.open(given) if isinstance(given, str) else TaskReference.from_dict(given)
        evicted = bool(request.get("cold")) and isinstance(source, Artifact) and evict(*source.files)
        self.memory["base"], start, cpu = reset_peak(), time.perf_counter(), time.process_time()
        self.loaded = (source, request["device"], request["threads"], request.get("options") or {})
        self.engine = engine_of(source, request["runtime"])
        self.memory["engine"], imported = reset_peak(), time.perf_counter()
        self.session = load(source, request["runtime"], *self.loaded[1:], unproven=True)
        seconds = time.perf_counter() - imported
        self.memory["load"] = peak_memory()
        reset_peak()
        specs = {side: [asdict(spec) for spec in getattr(self.session, side)] for side in ("inputs", "outputs")}
        told = {
            "engine": self.session.engine,
            "device": self.session.device,
            "evicted": evicted,
            "sandbox": dict(layers),
        }
        told |= {"import_seconds": imported - start, "load_seconds": seconds, "cpu_seconds": time.process_time() - cpu}
        return {**told, **specs}, {}

    def run(self, _: dict[str, Any], feeds: Feeds) -> Reply:
        return {}, self.session.run(feeds)

    def feed(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        """Keep `sets` sets of inputs, called `0/x`, `1/x` and so on, which take turns from now on."""
        self.sets: list[dict[str, Array]] = [{} for _ in range(request["sets"])]
        for key, values in feeds.items():
            number, _, name = key.partition("/")
            self.sets[int(number)][name] = values
        self.turns = itertools.cycle(self.sets)
        return {}, {}

    def measure(self, request: dict[str, Any], _: Feeds) -> Reply:
        """Run until both `runs` and `seconds` are reached; wall nanoseconds of each run, CPU seconds of them all.

        processor: all threads of this process are moved to it before, if it is given.
        begun, ended: by the system's monotonic clock, in nanoseconds. EngineFailed if the last outputs hold NaN.
        """
        import numpy as np

        if request.get("processor") is not None:
            move(request["processor"])
        timed, clock, turns = self.session.timed or host_timed(self.session.run), time.perf_counter_ns, self.turns
        samples = array("q")  # 8 bytes a run, to spare the peak memory
        switches, cpu, begun = _preemptions(), time.process_time(), clock()
        now, end = begun, begun + int(request["seconds"] * 1e9)
        while len(samples) < request["runs"] or now < end:
            feeds, outputs = next(turns), None  # what the last run gave is freed before the next one
            spent, outputs = timed(feeds)
            now = clock()
            samples.append(spent)
        figures = {"cpu_seconds": time.process_time() - cpu, "preemptions": _preemptions() - switches}
        check_numbers(self.session.engine, outputs or {})
        return {**figures, "begun": begun, "ended": now, "megahertz": _megahertz(), "celsius": celsius()}, {
            "wall_ns": np.frombuffer(samples, np.int64)
        }

    def peaks(self, _: dict[str, Any], __: Feeds) -> Reply:
        """Resident bytes: before the engine was imported, after it, at the peak of loading, at the peak since; and on the GPU."""
        told: dict[str, int | None] = {**self.memory, "run": peak_memory()}
        if self.session.device != "cpu":
            from edgedl.measure.energy.nvml import process_memory

            told["gpu"] = process_memory(os.getpid())
        return told, {}

    def profile(self, request: dict[str, Any], _: Feeds) -> Reply:
        """What each operator takes, as edgedl.measure.Profile; Unsupported if the engine does not tell."""
        if not hasattr(self.engine, "profile"):
            raise Unsupported(f"{self.session.engine} does not tell what its operators take")
        if members := getattr(self.loaded[0], "group", None):
            raise Unsupported(f"a group of {len(members.members)} files has no profile: measure its members one by one")
        return asdict(self.engine.profile(*self.loaded, self.sets, request["runs"])), {}

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


def host_timed(run: Callable[[Feeds], dict[str, Array]]) -> Callable[[Feeds], tuple[int, dict[str, Array]]]:
    """A run timed by the host's clock."""
    clock = time.perf_counter_ns

    def timed(feeds: Feeds) -> tuple[int, dict[str, Array]]:
        start = clock()
        outputs = run(feeds)
        return clock() - start, outputs

    return timed


def peak_memory() -> int:
    """Peak resident bytes of this process (VmHWM where /proc has it: ru_maxrss is inherited across exec)."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak() -> int:
    """Begin a new peak (man proc_pid_clear_refs); the bytes that are resident now, or the old peak where /proc cannot."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def check_numbers(engine: str, outputs: Feeds) -> None:
    """EngineFailed if an output holds NaN."""
    import numpy as np

    for name, values in outputs.items():
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise EngineFailed(f"{engine} gave NaN in the output {name!r}")


def evict(*paths: Path) -> bool:
    """Drop the files from the page cache (man posix_fadvise), but for pages that a process has mapped; False if it cannot be."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _megahertz() -> float | None:
    """The processor's clock, where the system tells it."""
    try:
        return int(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text()) / 1000
    except (OSError, ValueError):
        return None


def pin(processors: Sequence[int]) -> None:
    """Let this process run on these alone; InvalidInput if they are not there, or the system does not pin processes."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not set(processors) <= set(allowed):
        there = ", ".join(map(str, allowed)) or "none, for this system does not pin processes"
        raise InvalidInput(f"processors {', '.join(map(str, processors))}: expected some of {there}")
    if processors:
        os.sched_setaffinity(0, processors)


def move(processor: int) -> None:
    """All threads of this process to one processor; a thread that ended meanwhile, or that may not be moved, is left."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(thread.name), {processor})


def celsius(zones: Path = Path("/sys/class/thermal")) -> float | None:
    """The hottest of the system's thermal zones; None where it tells none."""
    found = []
    for zone in zones.glob("thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(zone.read_text()) / 1000)
    return max((degrees for degrees in found if -60 < degrees < 200), default=None)


def _preemptions() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def serve(worker: Worker) -> None:
    """Answer requests until the other end closes."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while frame := receive(sys.stdin.buffer):
        send(replies, *worker.answer(*frame))


def main() -> None:
    serve(Worker())


if __name__ == "__main__":
    main()

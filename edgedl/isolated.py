"""A session in a process of its own: what crashes there is an error here."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from dataclasses import asdict
from typing import Any

from edgedl import errors, registry, worker
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, InvalidArtifact
from edgedl.place import HERE, Place
from edgedl.runtime import NO_OPTIONS, Options, Session, Source, named
from edgedl.sandbox.confine import EXTRA_MEMORY, Limits
from edgedl.spec import Array, Feeds, Quantization, TensorSpec

# Fewer arenas and an mmap threshold that stays put: the peak memory of one model repeats within 0.3 MB instead of 5.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
# BLAS starts no thread before the sandbox, which holds for later ones. A random.py in the current folder must not take the
# place of the library's (Python 3.11 and later).
ENVIRONMENT = {**_ALLOCATOR, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"}
"""of every worker, wherever it runs"""
TIMEOUT = 600.0
"""Seconds that one request may take."""
FOREIGN_TIMEOUT, FOREIGN_TIMEOUT_PER_MB, MAX_FOREIGN_TIMEOUT = 9.0, 1.0, 60.0
"""Seconds that one request may take of a file that edgedl did not write, by its size: what takes a small one longer never ends."""
SHARE = 4
"""Times its own size that such a file may need, for the copies that engines make of its weights."""
_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|MemoryError|[Ff]ailed to allocate|Unable to allocate|Cannot allocate memory|out of memory"
)


class IsolatedSession(Session):
    """Loads `source` in a clean process of its own.

    timeout: seconds that one request may take. EngineFailed if the process crashes or the time is over. place: where the
    process runs; what keeps it from starting there is raised as the place explains it. options: of the engine.
    affinity: processors that it may run on. cold: the model file is dropped from the page cache before.

    On this machine's processor a model file is loaded in a sandbox (edgedl.sandbox): no network, no new processes, and no files
    but the model's folder, the interpreter and a temporary folder. foreign: whether edgedl did not write it, by
    default whether it has no manifest; then it gets less time, and memory of EXTRA_MEMORY and SHARE times its size.
    memory: bytes that it may allocate. sandbox: layer -> whether it holds.
    """

    def __init__(
        self,
        source: Source,
        runtime: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        timeout: float | None = None,
        place: Place = HERE,
        options: Options = NO_OPTIONS,
        affinity: tuple[int, ...] = (),
        cold: bool = False,
        memory: int | None = None,
        foreign: bool | None = None,
    ) -> None:
        self._name = str(source.path) if isinstance(source, Artifact) else source.text
        runtime = named(source, runtime, device, threads) if place.here else runtime
        if foreign is None:
            foreign = isinstance(source, Artifact) and source.manifest is None
        self._timeout = timeout or (_foreign_timeout(source) if foreign else TIMEOUT)
        self._lock, self._log = threading.Lock(), tempfile.TemporaryFile()  # noqa: SIM115
        self._place, self._stack, self._hung = place, contextlib.ExitStack(), False
        confined = place.here and device == "cpu" and isinstance(source, Artifact)
        limits = _limits(source, runtime, memory, foreign) if confined else None
        launch = self._stack.enter_context(place.launch(source))
        scratch = {"TMPDIR": self._stack.enter_context(tempfile.TemporaryDirectory(prefix="edgedl-"))} if limits else {}
        self._memory = limits.memory if limits else None
        self._process = subprocess.Popen(
            launch.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={**os.environ, **ENVIRONMENT, **scratch, **launch.environment},
        )  # fmt: skip
        try:
            reply, _ = self.ask(
                "load", source=launch.source, runtime=runtime, device=device, threads=threads,
                options=dict(options), affinity=affinity, cold=cold, limits=limits and asdict(limits),
            )  # fmt: skip
        except BaseException:
            self.close()
            raise
        self.import_seconds: float = reply["import_seconds"]
        self.load_seconds: float = reply["load_seconds"]
        self.load_cpu_seconds: float = reply["cpu_seconds"]
        self.evicted: bool = reply["evicted"]
        self.sandbox: dict[str, str] = reply.get("sandbox", {})
        self.states = source.manifest.states if isinstance(source, Artifact) and source.manifest else ()
        super().__init__(_specs(reply["inputs"]), _specs(reply["outputs"]), reply["engine"], reply["device"])

    def ask(self, do: str, feeds: Feeds | None = None, **request: Any) -> worker.Reply:
        """Send one request (see edgedl.worker.Worker) and wait for its reply; raises what the worker raised."""
        if self._log.closed:
            raise EngineFailed(f"{self._name}: the session is closed")
        with self._lock, self._watchdog():
            reply = self._exchange({"do": do, **request}, feeds or {})
        if reply is None:
            raise self._death()
        message, tensors = reply
        if "error" in message:
            if _OUT_OF_MEMORY.search(message["message"]) and self._memory:
                raise EngineFailed(self._needs_more_memory(message["message"]))
            kind = getattr(errors, message["error"], EngineFailed)
            raise kind.__new__(kind, message["message"])  # the message is made already
        return message, tensors

    def _exchange(self, message: dict[str, Any], feeds: Feeds) -> worker.Reply | None:
        assert self._process.stdin and self._process.stdout
        try:
            worker.send(self._process.stdin, message, feeds)  # type: ignore[arg-type]
            return worker.receive(self._process.stdout)  # type: ignore[arg-type]
        except (BrokenPipeError, InvalidArtifact):
            return None

    @contextlib.contextmanager
    def _watchdog(self) -> Any:
        timer = threading.Timer(self._timeout, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._hung = True
        self._process.kill()

    def _death(self) -> EdgedlError:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        if explained := self._place.failure(code, said):
            return explained
        if self._hung:
            return EngineFailed(f"{self._name}: the engine hung: it took more than {self._timeout:.3g} s and was ended")
        if self._memory and _OUT_OF_MEMORY.search(said):
            return EngineFailed(self._needs_more_memory(said.splitlines()[-1]))
        if code == -signal.SIGKILL:
            return EngineFailed(
                f"{self._name}: the system killed the engine's process, as it does when memory runs out"
            )
        how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = f": {said.splitlines()[-1]}" if said else ""
        return EngineFailed(f"{self._name}: the engine's process {how}{last}")

    def _needs_more_memory(self, said: str) -> str:
        return f"{self._name}: the engine needs more memory than its limit of {(self._memory or 0) / 1e9:.1f} GB ({said[:120]})"

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        return self.ask("run", feeds)[1]

    def run(self, feeds: Feeds) -> dict[str, Array]:
        return self._invoke(feeds)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe and pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stack.close()
        self._log.close()


def _foreign_timeout(source: Source) -> float:
    return min(MAX_FOREIGN_TIMEOUT, FOREIGN_TIMEOUT + FOREIGN_TIMEOUT_PER_MB * _size(source) / 1e6)


def _size(source: Source) -> int:
    return source.size if isinstance(source, Artifact) and source.path.exists() else 0


def _limits(source: Source, runtime: str, memory: int | None, foreign: bool) -> Limits:
    """What the worker of a model file keeps."""
    if memory is None and foreign:
        memory = EXTRA_MEMORY + SHARE * _size(source)
    assert isinstance(source, Artifact)
    converts = getattr(registry.runtime(runtime), "converts", ()) if runtime != "auto" else ()
    return Limits(memory, (str(source.path.resolve().parent),), source.format in converts)


def _specs(items: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            i["name"], tuple(i["shape"]), i["dtype"], Quantization(**i["quantization"]) if i["quantization"] else None
        )
        for i in items
    )

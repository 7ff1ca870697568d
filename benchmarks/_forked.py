"""Work in children of a process that has imported the heavy modules already: each with a limit of time and of memory."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], dict[str, Any]]
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Limits:
    """Of one child and all its own children: seconds, and bytes of resident memory."""

    seconds: float = 180.0
    memory: int = 6 << 30


@dataclass(frozen=True)
class _Child:
    key: str
    process: int
    result: Path
    start: float


def results(
    jobs: Iterable[tuple[str, Work]], workers: int, limits: Limits, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, what the work gave) as they finish; `{"fault": why}` for a child that raised, crashed or went over a limit."""
    waiting, running = iter(jobs), []
    try:
        while True:
            while len(running) < workers and (job := next(waiting, None)):
                running.append(_start(*job, folder))
            if not running:
                return
            for child in list(running):
                if (result := _finished(child, limits)) is not None:
                    running.remove(child)
                    yield child.key, {**result, "seconds": round(time.monotonic() - child.start, 2)}
            time.sleep(0.02)
    finally:
        for child in running:  # of a caller that was interrupted
            _end(child)


def _start(key: str, work: Work, folder: Path) -> _Child:
    result = folder / f"{time.monotonic_ns()}.json"
    sys.stdout.flush()
    process = os.fork()
    os.setpgid(process, process)  # by both, whichever comes first
    if not process:
        _run(work, result)
    return _Child(key, process, result, time.monotonic())


def _run(work: Work, result: Path) -> None:
    """In the child, which ends here; what it prints is dropped."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1), os.dup2(quiet, 2)
    try:
        told = work()
    except BaseException as error:
        told = {"fault": f"{type(error).__name__}: {str(error)[:300]}", "trace": traceback.format_exc()[-2000:]}
    result.with_suffix(".part").write_text(json.dumps(told))
    result.with_suffix(".part").rename(result)
    os._exit(0)


def _finished(child: _Child, limits: Limits) -> dict[str, Any] | None:
    """What the child gave, or None while it runs."""
    ended, status = os.waitpid(child.process, os.WNOHANG)
    reason = "" if ended else _over(child, limits)
    if not ended and not reason:
        return None
    if not ended:
        _end(child)
    if child.result.exists():
        told: dict[str, Any] = json.loads(child.result.read_text())
        child.result.unlink()
        return told
    return {"fault": reason or f"crashed: {_how(status)}"}


def _end(child: _Child) -> None:
    os.killpg(child.process, signal.SIGKILL)
    os.waitpid(child.process, 0)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _over(child: _Child, limits: Limits) -> str:
    if time.monotonic() - child.start > limits.seconds:
        return f"took more than {limits.seconds:g} s"
    return f"took more than {limits.memory >> 20} MiB" if _resident(child.process) > limits.memory else ""


def _resident(process: int) -> int:
    """Bytes; shared pages count too."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0

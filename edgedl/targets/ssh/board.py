"""What runs on the board: sent there as text, in the standard library's words only, one verb a call.

Standard output holds one JSON object a line: `have` (bytes of each file that are there), `say` (what a long step does), and at the
end `done` or `error`. What ends the process otherwise is one line on standard error behind `edgedl-board: `.
edgedl.targets.ssh.client is the other end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAYS_FULL = re.compile(r"No space left|Disk quota exceeded|File too large")
_SAYS_OFFLINE = re.compile(r"name resolution|Network is unreachable|NewConnectionError|No route to host|timed out")


_SAYS_VERSIONS = re.compile(r"requirement (\S+==\S+) \(from versions: (?:.*, )?([0-9][^ ,)]*)\)")


class Refusal(Exception):
    """What the person should read."""


class Busy(Exception):
    """Another set-up is at work."""


class Cut(Exception):
    """The other end is gone: what is there stays, for the next time."""


def folder() -> Path:
    return Path("~/.edgedl").expanduser()


def contents() -> dict[str, Any]:
    """What was set up: `python` and `engines`, name -> requirements; {} before that."""
    try:
        found = json.loads((folder() / "board.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("engines"), dict) else {}


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


# ---- bring: files, each once, whole or to be continued ----


class Incoming:
    """A file on its way. name: below the folder. Two that bring it at once write the same bytes to the same places."""

    def __init__(self, name: str, size: int, sha256: str) -> None:
        self.path, self.size, self.sha256 = folder() / name, size, sha256
        self.part = self.path.with_name(self.path.name + ".part")

    def there(self) -> int:
        if self.path.is_file() and self.path.stat().st_size == self.size:
            return self.size
        return min(self.part.stat().st_size, self.size) if self.part.is_file() else 0

    def take(self, stream: BinaryIO) -> None:
        """The rest of it from the stream; kept for the next time where that ends early, removed where it is damaged."""
        if not self.path.is_file() or self.path.stat().st_size != self.size:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.part.touch()
            self.fill(stream, self.there())
            self.settle()
        if self.path.suffix == ".zip":
            unpack(self.path)

    def fill(self, stream: BinaryIO, there: int) -> None:
        with self.part.open("r+b") as file:
            file.seek(there)
            while there < self.size:
                block = stream.read(min(1 << 16, self.size - there))
                if not block:
                    raise Cut
                file.write(block)
                there += len(block)
            file.truncate()

    def settle(self) -> None:
        digest = hashlib.sha256()
        with self.part.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        if digest.hexdigest() != self.sha256:
            self.part.unlink()
            raise Refusal(f"{self.path.name} arrived damaged: try again")
        self.part.replace(self.path)


def unpack(archive: Path) -> None:
    """Into a folder of the same name without `.zip`, whole or not there."""
    target, stage = archive.with_suffix(""), archive.with_suffix(f".{os.getpid()}")
    if not target.is_dir():
        try:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(stage)
            with contextlib.suppress(OSError):  # another call was first
                stage.rename(target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def bring(files: list[dict[str, Any]], first: bool) -> dict[str, Any]:
    """first: it is for a set-up. Nothing is taken by a board that is not set up otherwise."""
    incoming = [Incoming(**file) for file in files]
    tell(have=[one.there() for one in incoming], board=contents())
    for one in incoming if first or contents() else ():
        try:
            one.take(sys.stdin.buffer)
        except OSError:
            with contextlib.suppress(OSError):
                one.part.unlink()
            raise
    return {}


# ---- setup ----


def setup(
    requirements: list[str], engine: str, module: str, environment: dict[str, str], local: bool, chosen: bool
) -> dict[str, Any]:
    """A virtual environment with the requirements; an import tries it out, and only then it is written down.

    local: from the wheels that were brought, not from an index. chosen: this Python was asked for.
    """
    root, before, version = folder(), contents(), ".".join(map(str, sys.version_info[:2]))
    if chosen and before.get("python", version) != version:
        raise Refusal(
            f"it is set up with Python {before['python']}, not {version}: take that away first with edgedl target remove"
        )
    if before.get("engines", {}).get(engine) == requirements:
        return before
    with alone(root):
        python = root / "venv" / "bin" / "python"
        make(root / "venv")
        tell(say=f"installing {', '.join(requirements)}")
        install(python, requirements, ["--no-index", "--find-links", str(root / "wheels")] if local else [])
        tell(say="trying it out")
        if said := run([str(python), "-c", f"import numpy, {module}"], environment):
            raise Refusal(f"{module} was installed and cannot be imported: {last(said)}")
        found = {"python": version, **before, "engines": {**before.get("engines", {}), engine: requirements}}
        (root / "board.new").write_text(json.dumps(found))
        (root / "board.new").replace(root / "board.json")
        shutil.rmtree(root / "wheels", ignore_errors=True)
    return found


def make(venv: Path) -> None:
    """What an earlier set-up left is used again, if pip answers in it."""
    if (venv / "bin" / "python").exists() and not run([str(venv / "bin" / "python"), "-m", "pip", "--version"]):
        return
    tell(say="making a virtual environment")
    if said := run([sys.executable, "-m", "venv", "--clear", str(venv)]):
        raise Refusal(f"its Python makes no virtual environment ({last(said)}): apt-get install python3-venv there")


def install(python: Path, requirements: list[str], source: list[str]) -> None:
    """source: pip's words where it is not the index."""
    words = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2", *requirements]
    said = run([str(python), "-m", "pip", *words, *source])
    if there := _SAYS_VERSIONS.search(said):
        raise Refusal(f"its Python cannot have {there[1]}: add --set version={there[2]}, which is the newest for it")
    if _SAYS_OFFLINE.search(said) and not source:
        raise Refusal(f"it reaches no package index ({last(said)}): bring wheels with --set wheels=DIR")
    if said:
        raise Refusal(f"pip cannot install {', '.join(requirements)} there: {last(said)}")


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy("another set-up is at work there: wait for it, or end it") from error
        yield


# ---- processes that do not outlive the connection ----


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """ "" where the command succeeds, else what it said; Cut, or OSError where it says that the disk is full."""
    with subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    ) as child:  # fmt: skip
        cut = kill_when_cut(child)
        said = child.communicate()[0].strip()
    if cut.is_set():
        raise Cut
    if child.returncode and _SAYS_FULL.search(said):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if child.returncode < 0:
        return ended(child.returncode)
    return (said or f"exit code {child.returncode}") if child.returncode else ""


def last(said: str) -> str:
    """The last of the errors, or the last line."""
    lines = said.splitlines()
    return ([line for line in lines if "error" in line.lower()] or lines)[-1].strip()


def work(runner: str, environment: dict[str, str]) -> None:
    """edgedl.worker on this process's standard input and output; exits as it does, and says how."""
    root = folder()
    whole = {**os.environ, **environment, "PYTHONPATH": str(root / runner)}
    with subprocess.Popen(
        [sys.executable, "-s", "-m", "edgedl.worker"], cwd=root, env=whole, start_new_session=True
    ) as child:
        kill_when_cut(child)
    if child.returncode < 0:
        fail(f"the engine's process {ended(child.returncode)}", 128 - child.returncode)
    sys.exit(child.returncode)


def kill_when_cut(child: subprocess.Popen[Any]) -> threading.Event:
    """With all of its own, when the connection is gone, which the event tells; it has a second to see that for itself."""
    cut = threading.Event()

    def watch() -> None:
        poller = select.poll()
        poller.register(0, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
        poller.poll()
        cut.set()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1)
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    return cut


def ended(code: int) -> str:
    if -code == signal.SIGKILL:
        return "was killed there (out of memory, as a rule)"
    return f"crashed there with {signal.Signals(-code).name}"


def fail(message: str, code: int) -> None:
    print(f"edgedl-board: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


VERBS = {"bring": bring, "setup": setup, "work": work}


def main(verb: str, request: dict[str, Any]) -> None:
    """A first set-up that fails leaves nothing; one that is cut off goes on the next time."""
    try:
        tell(done=VERBS[verb](**request))  # type: ignore[operator]
    except (Cut, BrokenPipeError):
        fail("the connection was cut", 1)
    except Busy as busy:
        tell(error=str(busy), passing=True)
    except Refusal as refusal:
        forget()
        tell(error=str(refusal))
    except OSError as error:
        forget()
        full = f"the disk there is full ({error.strerror}): make room and try again"
        tell(error=full if error.errno in _FULL else f"{error.filename or 'the board'}: {error.strerror or error}")


def forget() -> None:
    if not contents():
        shutil.rmtree(folder().resolve(), ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

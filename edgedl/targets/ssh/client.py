"""One conversation with edgedl.targets.ssh.board: a call of ssh, lines of JSON from there, files from here."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgedl.errors import Unavailable, Unreachable
from edgedl.sizes import size
from edgedl.targets.ssh.address import Address
from edgedl.targets.ssh.failures import explain
from edgedl.targets.ssh.files import Brought
from edgedl.targets.target import Watch

PYTHON = ".edgedl/venv/bin/python"
"""the board's, once it is set up; a command begins in the home folder"""
ANSWER = 60.0
"""seconds until the first line, which a working board gives within five"""
QUIET: Mapping[str, str] = {"LC_ALL": "C"}
"""so that ssh says what failures.py knows"""
BEGIN = (
    "import base64,sys,zlib;"
    "sys.version_info<(3,10) and sys.exit('edgedl-board: its Python is %d.%d, 3.10 or later is needed: "
    "name another with --set python=PATH'%sys.version_info[:2]);"
    "sys.argv[1:]=[zlib.decompress(base64.b64decode(word)).decode() for word in sys.argv[1:]];"
    "exec(compile(sys.argv.pop(1),'board','exec'))"
)


def remote(python: str, verb: str, request: Mapping[str, Any]) -> str:
    """The command line that runs a verb of board.py there, in any shell: no word of it has a line break."""
    source = Path(__file__).with_name("board.py").read_text()
    packed = (
        base64.b64encode(zlib.compress(text.encode(), 9)).decode() for text in (source, verb, json.dumps(request))
    )
    return f"exec {shlex.quote(python)} -c {shlex.quote(BEGIN)} {' '.join(packed)}"


def possible() -> str:
    """Why no board can be reached from this machine; "" where it can."""
    return "" if shutil.which("ssh") else "it needs the ssh command (apt-get install openssh-client)"


@dataclass
class Conversation:
    """address: of the board. python: which one runs board.py. process: ssh. log: its standard error."""

    address: Address
    python: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def lines(self, watch: Watch) -> Iterator[dict[str, Any]]:
        """What the board tells, but for what it says in between; Unavailable where it refuses, or the connection ends."""
        assert self.process.stdout
        silence = threading.Timer(ANSWER, self.process.kill)
        silence.start()
        try:
            for line in self.process.stdout:
                silence.cancel()
                told = self._told(line)
                if "error" in told:
                    kind = Unreachable if told.get("passing") else Unavailable
                    raise kind(f"{self.address}: {told['error']}")
                if "say" in told:
                    watch(f"{self.address}: {told['say']}")
                else:
                    yield told
        finally:
            silence.cancel()
        raise self.failure()

    def _told(self, line: bytes) -> dict[str, Any]:
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict) and told.keys() & {"have", "say", "done", "error"}:
                return told
        word = line.decode(errors="replace").strip()[:60]
        raise Unavailable(
            f"{self.address}: its login shell prints {word!r} before every command: let ~/.bashrc there be silent without a terminal"
        )

    def send(self, files: Sequence[Brought], have: Sequence[int]) -> None:
        """What is missing of each file; whether it arrived is told by the lines."""
        assert self.process.stdin
        try:
            for file, there in zip(files, have, strict=True):
                for block in file.blocks(there):
                    self.process.stdin.write(block)
            self.process.stdin.flush()
        except BrokenPipeError:
            return

    def failure(self) -> Exception:
        code = self.process.wait()
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        if code < 0:
            return Unreachable(f"{self.address}: it did not answer within {ANSWER:g} s")
        return explain(self.address, code, said, "" if self.python == PYTHON else self.python)


@contextlib.contextmanager
def conversation(address: Address, python: str, verb: str, request: Mapping[str, Any]) -> Iterator[Conversation]:
    """Ends with its process: what hangs is killed."""
    if reason := possible():
        raise Unavailable(f"{address}: {reason}")
    command = address.command(remote(python, verb, request))
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **QUIET}
        ) as process,
    ):
        try:
            yield Conversation(address, python, process, log)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin and process.stdin.close()


def ask(address: Address, python: str, verb: str, request: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """What the verb gives."""
    with conversation(address, python, verb, request) as talk:
        done: dict[str, Any] = next(talk.lines(watch))["done"]
        return done


def remove(address: Address) -> None:
    """Everything that is below the board's folder, and the folder; no Python is needed there."""
    if reason := possible():
        raise Unavailable(f"{address}: {reason}")
    command = address.command("rm -rf .edgedl")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **QUIET})
    if done.returncode:
        raise explain(address, done.returncode, done.stderr.decode(errors="replace"))


def bring(
    address: Address, files: Sequence[Brought], watch: Watch, python: str = PYTHON, first: bool = False
) -> dict[str, Any]:
    """Bring what is missing; what the board was set up with. first: it is for a set-up; Unavailable if none was made otherwise."""
    with conversation(address, python, "bring", {"files": [file.told() for file in files], "first": first}) as talk:
        lines = talk.lines(watch)
        there = next(lines)
        if not first and not there["board"]:
            raise Unavailable(f"{address} is not set up: edgedl target setup {address}")
        if missing := sum(file.size - have for file, have in zip(files, there["have"], strict=True)):
            watch(f"{address}: bringing {size(missing)}")
        talk.send(files, there["have"])
        next(lines)
        board: dict[str, Any] = there["board"]
        return board

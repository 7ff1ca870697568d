"""One Android device through the adb command of the system."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgedl import files
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, Unavailable, Unreachable

_SERIAL = re.compile(r"[A-Za-z0-9\[][\w.:%\[\]-]*")
_KNOWN = (
    (r"unauthorized", "it does not trust this computer: unlock it and allow USB debugging"),
    (r"device offline|device still authorizing", "it is offline: plug it in again, or adb reconnect"),
    (r"more than one device", "several devices are connected: name one of {connected}, as adb:SERIAL"),
    (r"no devices|device '?.*'? not found|no such device", "it is not connected; adb devices lists: {connected}"),
    (r"No space left on device", "its disk is full: make room and try again"),
    (r"Read-only file system|Permission denied", "it may not be written to: {last}"),
    (
        r"CANNOT LINK|cannot open shared object|library .* not found",
        "a library is missing: --set libraries=DIR ({last})",
    ),
    (r"not executable|[Ee]xec format error|[Bb]ad ELF", "the program is built for another processor: {last}"),
    (r"(timeout|sha256sum|taskset): (inaccessible or )?not found", "its shell is too old: {last}"),
    (r"inaccessible or not found|No such file|: not found", "not set up: edgedl target setup {name} --set binary=PATH"),
    (
        r"error: closed|protocol fault|failed to read|device disconnected|Connection reset",
        "the connection was cut: {last}",
    ),
)
_PASSING = ("it is offline", "it is not connected", "the connection was cut")
"""beginnings of what may be over when it is tried again"""
_SIGNALS = {137: "was killed (out of memory, as a rule)", 139: "crashed with SIGSEGV", 134: "crashed with SIGABRT",
            132: "crashed with SIGILL: it is built for another processor", 135: "crashed with SIGBUS"}  # fmt: skip
_LATE = (124, 143)
"""exit codes of timeout: of newer and of older systems"""
TRANSFER = 600.0
"""seconds that a transfer, or a small command, may take"""


@dataclass(frozen=True)
class Device:
    """serial: as `adb devices` lists it; "" where only one is connected."""

    serial: str

    def __post_init__(self) -> None:
        if self.serial and not _SERIAL.fullmatch(self.serial):
            raise InvalidInput(f"--target adb:{self.serial!r}: expected a serial number as adb devices lists it")

    @property
    def name(self) -> str:
        return f"adb:{self.serial}" if self.serial else "adb"

    def shell(self, command: str, timeout: float = TRANSFER) -> str:
        """What a command there prints, both streams; typed errors where it fails."""
        return self._adb("shell", command, timeout=timeout)

    def run(self, words: tuple[str, ...], libraries: str, seconds: float) -> str:
        """A program that must end in time; it is ended there, too."""
        quoted = " ".join(map(shlex.quote, words))
        return self.shell(f"LD_LIBRARY_PATH={libraries} timeout {seconds:.0f} {quoted}", seconds + 30)

    def push(self, local: Path, remote: str) -> None:
        """Unless the same bytes are there; under a passing name until they are whole."""
        digest = files.sha256(local)
        if digest in self.shell(f"sha256sum {shlex.quote(remote)} 2>/dev/null || true"):
            return
        part = f"{remote}.part"
        try:
            self._adb("push", str(local), part, timeout=TRANSFER)
            if digest not in self.shell(f"sha256sum {shlex.quote(part)}"):
                raise Unreachable(f"{self.name}: {local.name} arrived damaged: try again")
            self.shell(f"mv {shlex.quote(part)} {shlex.quote(remote)}")
        except EdgedlError:
            with contextlib.suppress(EdgedlError):
                self.shell(f"rm -f {shlex.quote(part)}")
            raise

    def connected(self) -> str:
        """The serial numbers of what is connected, or `none`."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(["adb", "devices"], capture_output=True, text=True, errors="replace", timeout=30)
            serials = [line.split()[0] for line in done.stdout.splitlines()[1:] if line.split()]
            return ", ".join(serials) or "none"
        return "none"

    def _adb(self, *words: str, timeout: float) -> str:
        if reason := possible():
            raise Unavailable(f"{self.name}: {reason}")
        command = ["adb", *(["-s", self.serial] if self.serial else []), *words]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise Unreachable(f"{self.name}: it did not answer within {timeout:g} s") from error
        if done.returncode:
            raise self._failure(done.returncode, done.stdout)
        return done.stdout

    def _failure(self, code: int, said: str) -> EdgedlError:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit code {code}"
        if code in _SIGNALS:
            return EngineFailed(f"{self.name}: the benchmark program {_SIGNALS[code]}")
        if code in _LATE:
            return EngineFailed(f"{self.name}: the benchmark program took too long (--timeout)")
        for pattern, meaning in _KNOWN:
            if re.search(pattern, said):
                told = meaning.format(
                    name=self.name, last=last, connected=self.connected() if "{conn" in meaning else ""
                )
                return (Unreachable if told.startswith(_PASSING) else Unavailable)(f"{self.name}: {told}")
        return EngineFailed(f"{self.name}: {last[:200]} (exit code {code})")


def possible() -> str:
    """Why no device can be reached from this machine; "" where it can."""
    return "" if shutil.which("adb") else "it needs the adb command (apt-get install adb)"

"""Chromium without a window, by its devtools protocol over two pipes: https://chromedevtools.github.io/devtools-protocol/"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgedl.errors import EngineFailed, Unavailable
from edgedl.targets.javascript.process import end_with_parent, threads

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
PHONE = {"width": 412, "height": 915, "deviceScaleFactor": 2.625, "mobile": True}
"""a phone's screen, in CSS pixels"""
_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--mute-audio", "--disable-features=WebUIOmniboxPopup,WebUIOmniboxFullPopup,WebUIOmniboxAimPopup",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
"""No window, no profile of anybody's, no host but this one, and no pages of the browser's own, which compute beside ours"""

_LONGEST = 60
"""characters: a socket's name has 107 at most (man unix), and Chromium adds its own to its folder for temporary files"""
_SHIM = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from 3 and writes replies to 4; a shell cannot move numbers above 9"""
_MARK = "globalThis.mark = new Worker(URL.createObjectURL(new Blob([''])))"
_THREAD = "DedicatedWorker"
"""how Chromium calls the thread of a worker, as far as the system keeps it"""


def program() -> str | None:
    """The browser's command, under one of its names."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """A browser with one page. folder: its profile, which whoever made it removes. throttle: how many times slower its main thread."""

    def __init__(self, folder: Path, throttle: float) -> None:
        browser = program()
        if not browser:
            raise Unavailable("chromium is not installed: apt-get install chromium")
        if len(str(folder)) > _LONGEST:
            raise Unavailable(f"{folder} is too long a name for chromium's sockets: set TMPDIR to a shorter folder")
        self._numbers, self._received, self.throttle = itertools.count(1), b"", throttle
        self._process, self._to, self._from = _started(browser, folder)
        self.version = self.ask("Browser.getVersion")["product"].replace("/", " ")
        target = next(t["targetId"] for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._page = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, address: str) -> None:
        """Show the page and wait until its script has run."""
        for domain in ("Page", "Runtime", "Inspector"):
            self.page(f"{domain}.enable")
        self.page("Emulation.setDeviceMetricsOverride", **PHONE)
        self.page("Emulation.setCPUThrottlingRate", rate=self.throttle)
        self.page("Page.navigate", url=address)
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        self.pid = self._renderer()

    def call(self, do: str, **request: Any) -> Any:
        """The value of window.edgedl.DO(request); EngineFailed with what was thrown."""
        expression = f"window.edgedl.{do}({json.dumps(request)})"
        reply = self.page("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if thrown := reply.get("exceptionDetails"):
            raise EngineFailed(_thrown(thrown))
        return reply["result"].get("value")

    def page(self, method: str, **parameters: Any) -> Any:
        return self.ask(method, self._page, **parameters)

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """The result of one command; EngineFailed if the browser refuses it or has ended."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (reply := self._receive()).get("id") != number:
            pass
        if "error" in reply:
            raise EngineFailed(f"chromium refuses {method}: {reply['error']['message']}")
        return reply["result"]

    def close(self) -> None:
        """End the browser and wait for it."""
        with contextlib.suppress(EngineFailed, OSError):
            self.ask("Browser.close")
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _receive(self) -> dict[str, Any]:
        """The next message, which ends with a zero byte."""
        while b"\0" not in self._received:
            block = os.read(self._from, 1 << 20)
            if not block:
                raise EngineFailed(f"chromium ended with exit code {self._process.wait()}")
            self._received += block
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if found.get("method") == "Inspector.targetCrashed":
            raise EngineFailed("the page crashed (out of memory, or a fault of the engine)")
        return found

    def _renderer(self) -> int:
        """The process of the page: the only one with a worker's thread, which is started for that and ends again."""
        processes = self.ask("SystemInfo.getProcessInfo")["processInfo"]
        self.page("Runtime.evaluate", expression=_MARK)
        for _ in range(200):
            if found := [int(p["id"]) for p in processes if _THREAD in threads(int(p["id"]))]:
                self.page("Runtime.evaluate", expression="mark.terminate()")
                return found[0]
            time.sleep(0.01)
        raise EngineFailed("the page's process was not found among chromium's")


def _started(browser: str, folder: Path) -> tuple[subprocess.Popen[bytes], Any, int]:
    """(process, where commands are written, where replies are read)."""
    there_in, here_out = os.pipe()
    here_in, there_out = os.pipe()
    flags = [*_FLAGS, f"--user-data-dir={folder}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    shim = [sys.executable, "-I", "-S", "-c", _SHIM, str(there_in), str(there_out)]
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [*shim, browser, *flags, "about:blank"], pass_fds=(there_in, there_out), stdin=subprocess.DEVNULL,
        preexec_fn=end_with_parent, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    os.close(there_in)
    os.close(there_out)
    return process, os.fdopen(here_out, "wb"), here_in


def _thrown(details: dict[str, Any]) -> str:
    """The first line of what was thrown, without the stack."""
    exception = details.get("exception", {})
    text = exception.get("description") or str(exception.get("value", details.get("text")))
    return str(text).strip().splitlines()[0].removeprefix("Error: ")

"""A page in a real browser: Chromium without a window, told what to do through its DevTools pipe.

The protocol is JSON ended by NUL on the file descriptors 3 and 4 (--remote-debugging-pipe), so that no package is needed:
https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
)
LONGEST = 300.0
"""Seconds after which a browser that hangs is ended."""


class Browser:
    """One tab. events: what it told beside its answers, such as messages on the console."""

    def __init__(self, reading: int, writing: int) -> None:
        self._from, self._to = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self._numbers, self._tab = itertools.count(1), {}
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._tab = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **self._tab}
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (told := self._told()).get("id") != number:
            self.events.append(told)
        assert "error" not in told, f"{method}: {told['error']}"
        return told["result"]

    def _told(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "Chromium ended"
            text += byte
        return dict(json.loads(text))

    def open(self, path: Path) -> None:
        """Returns when the page is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._told())

    def run(self, script: str) -> Any:
        """The value of the expression, awaited; an exception in it fails the test."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def size(self, width: int, height: int = 900) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def print(self) -> bytes:
        """As PDF."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"])

    def complaints(self) -> list[Any]:
        """Errors and warnings of the console, exceptions, and whatever was asked of a network."""
        self.run("0")
        bad = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Network.requestWillBeSent")
        found = [event for event in self.events if event["method"] in bad]
        return [event for event in found if not _of_the_page(event)]

    def close(self) -> None:
        self._to.close()
        self._from.close()


def _of_the_page(event: dict[str, Any]) -> bool:
    """The one request that there must be: for the file itself."""
    return str(event["params"].get("request", {}).get("url", "")).startswith(("file:", "blob:"))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Chromium for the time of the block; `profile`: an empty folder of its own."""
    assert PROGRAM
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    switches = [*SWITCHES, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    start = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", start, PROGRAM, *switches],
        pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    watchdog = threading.Timer(LONGEST, process.kill)
    watchdog.start()
    tab = Browser(ours_in, ours_out)
    try:
        yield tab
    finally:
        watchdog.cancel()
        tab.close()
        process.terminate()
        process.wait(20)

"""`--target web[:throttle=4]` and `--target node`."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.isolated import IsolatedSession
from edgedl.measure import FeedsOf, Measured, Plan, Subject
from edgedl.place import Launch
from edgedl.runtime import Source
from edgedl.sum_model import check_sum, sum_file
from edgedl.targets.javascript import chromium, node
from edgedl.targets.javascript.packages import NODE, WEB, Store
from edgedl.targets.mean import mean_of
from edgedl.targets.parity import host_parity
from edgedl.targets.target import Status, Target, TargetKind, Watch
from edgedl.targets.worker_target import WorkerTarget

STORES = {"web": Store("web", WEB), "node": Store("node", NODE)}
FORMATS = {"web": ("onnx", "tflite"), "node": ("onnx",)}
TICKS = 100
"""ticks of the clock in a sample, as in bench.mjs"""


class Script:
    """The place: a worker that drives a browser or Node. packages: another folder of engines than the one that was set up."""

    here = False

    def __init__(self, kind: str, throttle: float = 1.0, packages: Path | None = None) -> None:
        self.name = kind if throttle == 1 else f"{kind}:throttle={throttle:g}"
        self.kind, self.throttle, self._packages = kind, throttle, packages

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        path = self._accepted(source)
        with _scratch() as scratch:
            order = {
                "kind": self.kind, "packages": str(self.packages()), "scratch": scratch, "throttle": self.throttle,
            }  # fmt: skip
            command = (sys.executable, "-m", "edgedl.targets.javascript.worker", json.dumps(order))
            yield Launch(command, str(path.absolute()))

    def _accepted(self, source: Source) -> Path:
        """Unsupported for what cannot run there."""
        if not isinstance(source, Artifact) or source.group:
            what = "a group of files" if isinstance(source, Artifact) else f"{source.text}, which runs in PyTorch"
            raise Unsupported(f"{self.name} takes one .onnx or .tflite file, and not {what}")
        if source.format not in FORMATS[self.kind]:
            able = " and ".join(FORMATS[self.kind])
            elsewhere = ": try --target web" if source.format in FORMATS["web"] else ""
            raise Unsupported(f"{self.name} runs {able} files, and {source.path.name} is none{elsewhere}")
        return source.path

    def packages(self) -> Path:
        """Unavailable where they were not set up."""
        store = STORES[self.kind]
        if self._packages is None and not store.there():
            raise Unavailable(f"target {self.kind!r} is not set up: edgedl target setup {self.kind}")
        return self._packages or store.ready

    def failure(self, code: int, said: str) -> EdgedlError | None:
        return None


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A folder for the browser's profile; it still writes a moment after its end."""
    folder = tempfile.mkdtemp(prefix="edgedl-web-")
    try:
        yield folder
    finally:
        for _ in range(250):
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            time.sleep(0.02)


class ScriptTarget(WorkerTarget):
    """A browser or Node; the harness is that of every worker."""

    place: Script

    def __init__(self, place: Script) -> None:
        super().__init__(place)

    def told(self, subject: Subject, found: Measured, feeds_of: FeedsOf, plan: Plan) -> Measured:
        """With the mean, the parity with this machine, and how its clock ticks."""
        if found.failure or not found.rounds or not isinstance(subject.source, Artifact):
            return found
        try:
            session = IsolatedSession(
                subject.source, subject.runtime, threads=subject.threads, timeout=plan.timeout, place=self.place
            )
            with session:
                inputs = feeds_of(subject, session.inputs)
                parity = host_parity(subject.source, inputs.feeds, session.run(inputs.feeds))
                resolution = _resolution(session, inputs.feeds)
        except EdgedlError as error:
            return replace(found, doubts=(*found.doubts, f"not held against this machine: {error}"))
        notes = (_clock(found, resolution), *self._throttled())
        return replace(found, figures=(mean_of(found),), parity=parity, notes=notes)

    def _throttled(self) -> tuple[str, ...]:
        if self.place.throttle == 1:
            return ()
        return (
            f"{self.name}: Chromium pauses the page's main thread, to {self.place.throttle:g} times its time; no phone's processor",
        )


def _resolution(session: IsolatedSession, feeds: Mapping[str, Any]) -> float:
    session.ask("feed", {f"0/{name}": values for name, values in feeds.items()}, sets=1)
    return float(session.ask("measure", runs=1, seconds=0)[0]["resolution"])


def _clock(found: Measured, resolution: float) -> str:
    typical = float(np.median(np.concatenate([r.wall_ns for r in found.rounds])))
    runs = max(1, math.ceil(TICKS * resolution / typical))
    each = "each run is a sample" if runs == 1 else f"a sample is the mean of about {runs} runs"
    return f"{found.label} on {found.target}: performance.now() ticks every {resolution / 1000:.3g} us, {each}"


class ScriptKind(TargetKind):
    """What web and node share."""

    settings: ClassVar[Mapping[str, str]] = {"registry": "URL of an npm registry"}
    program: ClassVar[str]
    """what has to be installed"""

    def found(self) -> str | None:
        """Where the program is."""
        raise NotImplementedError

    def impossible(self) -> str:
        """Why it cannot be used here; "" where it can."""
        if sys.platform != "linux":
            return f"it needs Linux, this is {sys.platform}"
        if not self.found():
            return f"it needs {self.program}"
        if not STORES[self.name].there() and not shutil.which("npm"):
            return "its set-up needs npm (apt-get install npm)"
        return ""

    def status(self) -> Status:
        if reason := self.impossible():
            return Status("impossible", reason)
        return Status("ready") if STORES[self.name].there() else Status("set-up", f"edgedl target setup {self.name}")

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        if reason := self.impossible():
            raise Unavailable(f"target {self.name!r} is not possible here: {reason}")
        STORES[self.name].setup(settings, watch, self._try_out)

    def _try_out(self, packages: Path) -> None:
        """1 + 2 = 3 in every engine."""
        for fmt in FORMATS[self.name]:
            place = Script(self.name, packages=packages)
            with IsolatedSession(sum_file(fmt), threads=1, timeout=120, place=place) as session:
                check_sum(session, session.engine, f"try another version of {self.program}")

    def remove(self, detail: str) -> None:
        STORES[self.name].remove()


class WebKind(ScriptKind):
    """A headless browser."""

    name = "web"
    summary = "headless Chromium with a phone's screen: onnxruntime-web, LiteRT for the web"
    example = "web:throttle=4"
    program = "chromium (apt-get install chromium)"

    def found(self) -> str | None:
        return chromium.program()

    def open(self, detail: str) -> Target:
        return ScriptTarget(Script("web", _throttle(detail) if detail else 1.0))


class NodeKind(ScriptKind):
    """Node without a browser."""

    name = "node"
    summary = "Node with onnxruntime-node, for .onnx files"
    example = "node"
    program = "node (apt-get install nodejs)"

    def found(self) -> str | None:
        return node.program()

    def open(self, detail: str) -> Target:
        if detail:
            raise InvalidInput(f"--target node:{detail}: expected node alone")
        return ScriptTarget(Script("node"))


def _throttle(detail: str) -> float:
    key, _, text = detail.partition("=")
    if key != "throttle":
        raise UnknownName("setting of web", key, ["throttle"], "(as web:throttle=4)")
    if not (text.isascii() and text.isdigit() and 2 <= int(text[:9]) <= 100):
        raise InvalidInput(f"throttle={text}: expected a whole number from 2 to 100, how many times slower")
    return float(text)


web, node_kind = WebKind(), NodeKind()

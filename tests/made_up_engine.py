"""An engine made for the tests, installed as a plugin here and in child processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedl.artifact import Artifact

ENGINE = """
import os, signal, time
import numpy as np
from edgedl.errors import Unavailable
from edgedl.runtime import Session
from edgedl.spec import TensorSpec

class FakeSession(Session):
    def __init__(self, what, device):
        super().__init__((TensorSpec("x", ("batch", 2), "float32"),), (TensorSpec("y", ("batch", 2), "float32"),), "fake 1.0", device)
        self.what, self.runs = what, 0
    def _invoke(self, feeds):
        self.runs += 1
        if self.what in ("slow", "late"):
            time.sleep(0.03)
        if self.what == "crash" or self.what == "late" and self.runs > 50:
            os.abort()
        if self.what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "memory":
            np.ones(1 << 60, np.int8)
        if self.what.startswith("read "):
            open(self.what.removeprefix("read ")).read()
        if self.what == "hang":
            time.sleep(60)
        if self.what == "nan":
            return {"y": feeds["x"] * np.nan}
        return {"y": feeds["x"] * 2}

class Fake:
    name, formats, requires, extra = "fake", frozenset({"onnx"}), (), "fake"
    options = {"speed": "fast or slow"}
    def load(self, source, device, threads, options=None):
        if device != "cpu":
            raise Unavailable(f"device {device!r} is not here")
        if source.path.read_text() == "refuse":
            raise ValueError("no such operator: Foo")
        session = FakeSession(source.path.read_text(), device)
        session.engine += f" {dict(options or {})} {sorted(os.sched_getaffinity(0))}" if options else ""
        return session

runtime = Fake()
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = folder / "site"
    info = site / "fake_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "fake_engine.py").write_text(ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgedl.runtimes]\nfake = fake_engine:runtime\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")


def fake_model(folder: Path, name: str, what: str = "ok") -> Artifact:
    (folder / name).write_text(what)
    return Artifact(folder / name)

"""Computes something in every engine, and says what is wrong and which command mends it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError
from edgedl.isolated import IsolatedSession
from edgedl.reference import TaskReference
from edgedl.runtime import Source


@dataclass(frozen=True)
class Finding:
    """status: PASS, FAIL (it is installed and does not work) or ABSENT (it is not installed)."""

    subject: str
    status: str
    detail: str


def examine() -> Iterator[Finding]:
    """One finding for each runtime, each exporter and each known clash of packages."""
    for name in sorted(registry.runtimes()):
        yield _runtime(name)
    for name in sorted(registry.exporters()):
        yield _exporter(name)
    yield from _clashes()


def _runtime(name: str) -> Finding:
    """1 + 2 = 3 in a process of its own."""
    subject = f"runtime {name}"
    try:
        kind = next(iter(registry.runtime(name).formats))
    except EdgedlError as error:
        return Finding(subject, "ABSENT", str(error))
    try:
        with IsolatedSession(_sum_model(kind), name, timeout=120) as session:
            result = session.run({"a": np.array([1], np.float32), "b": np.array([2], np.float32)})["sum"]
            engine = session.engine
    except EdgedlError as error:
        return Finding(subject, "FAIL", str(error))
    if result.tolist() != [3.0]:
        return Finding(subject, "FAIL", f"{engine} computes 1 + 2 = {result.tolist()}: install it anew")
    return Finding(subject, "PASS", f"{engine} computes 1 + 2 = 3")


def _sum_model(kind: str) -> Source:
    if kind == "torch":
        return TaskReference("edgedl.doctor_model:task")
    return Artifact(Path(str(files("edgedl") / "models" / f"sum.{kind}")))


def _exporter(name: str) -> Finding:
    subject = f"exporter {name}"
    try:
        plugin = registry.exporter(name)
    except EdgedlError as error:
        return Finding(subject, "ABSENT", str(error))
    return Finding(subject, "PASS", f"what it needs is installed ({', '.join(plugin.requires)})")


def _clashes() -> Iterator[Finding]:
    """onnxruntime and onnxruntime-gpu install the same module: the last one wins and neither can be removed cleanly."""
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(both) == 2:
        mend = "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install the one that you want"
        yield Finding(
            "packages", "FAIL", f"onnxruntime and onnxruntime-gpu are both installed and overwrite each other: {mend}"
        )


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

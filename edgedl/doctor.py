"""Computes something in every engine, and says what is wrong and which command mends it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass

from edgedl import registry
from edgedl.errors import EdgedlError
from edgedl.isolated import IsolatedSession
from edgedl.reference import TaskReference
from edgedl.runtime import Source
from edgedl.sum_model import check_sum, sum_file


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
            check_sum(session, session.engine, "install it anew")
    except EdgedlError as error:
        return Finding(subject, "FAIL", str(error))
    return Finding(subject, "PASS", f"{session.engine} computes 1 + 2 = 3")


def _sum_model(kind: str) -> Source:
    return TaskReference("edgedl.doctor_model:task") if kind == "torch" else sum_file(kind)


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

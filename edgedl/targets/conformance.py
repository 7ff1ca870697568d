"""What every kind of target promises, as one call for the tests of its author.

def test_my_target() -> None:
    check("mytarget", "mytarget:small")
"""

from __future__ import annotations

import json

import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, Unsupported
from edgedl.measure import BenchmarkRecord, InputChoice, Plan, Subject
from edgedl.sum_model import sum_file
from edgedl.targets.resolve import find
from edgedl.targets.target import Target, TargetKind

_HOW = ("counted", "measured", "estimated", "predicted")


class Broken(AssertionError):
    """A promise that the target does not keep; the message says which."""


def check(name: str, text: str, fmt: str = "tflite") -> None:
    """Hold the registered kind `name` and its target `text` against the protocol; Broken, or silence.

    fmt: `onnx` or `tflite`, of the model (1 + 2 = 3) that it is asked to measure and to run.
    """
    kind = registry.target(name)
    check_kind(kind, name)
    target = find(text)
    _holds(target.name == text, f"find({text!r}).name is {target.name!r}")
    source = sum_file(fmt)
    check_record(target, _measured(target, source))
    check_session(target, source)


def check_kind(kind: TargetKind, name: str) -> None:
    """The words that a kind tells of itself."""
    _holds(isinstance(kind, TargetKind), f"{name} is no TargetKind but a {type(kind).__name__}")
    _holds(kind.name == name, f"registered as {name!r}, its name is {kind.name!r}")
    _holds(0 < len(kind.summary) <= 100 and "\n" not in kind.summary, "the summary is not one line of 100 characters")
    _holds(kind.example.partition(":")[0] == name, f"the example {kind.example!r} does not begin with {name!r}")
    status = kind.status()
    _holds(status.state in ("ready", "set-up", "impossible"), f"status {status.state!r}")
    _holds(status.state == "ready" or bool(status.detail), f"status {status.state} without a detail")
    _refuses(kind, "no such detail \x00")


def _refuses(kind: TargetKind, nonsense: str) -> None:
    try:
        kind.open(nonsense)
    except EdgedlError:
        return
    raise Broken(f"open({nonsense!r}) raises no EdgedlError")


def _measured(target: Target, source: Artifact) -> BenchmarkRecord:
    subjects = [Subject("sum", source)]
    plan = Plan(runs=6, seconds=0.0, rounds=6, warmup_runs=1, warmup_seconds=0.0)
    return target.measure(subjects, InputChoice(subjects), plan, lambda done, total: None)


def check_record(target: Target, record: BenchmarkRecord) -> None:
    """One subject in, one subject out, of this target, and the record survives being written and read."""
    _holds(len(record.subjects) == 1, f"{len(record.subjects)} subjects of 1 that was given")
    (subject,) = record.subjects
    _holds(subject.failure is None, f"the model failed: {subject.failure}")
    _holds(subject.target == target.name, f"the record says target {subject.target!r}, not {target.name!r}")
    _holds(bool(subject.rounds or subject.figures), "neither rounds nor figures")
    for figure in subject.figures:
        _holds(figure.how in _HOW, f"figure {figure.name!r} is {figure.how!r}, not one of {', '.join(_HOW)}")
        _holds(bool(np.isfinite(figure.value)), f"figure {figure.name!r} is {figure.value}")
    text = record.to_json()
    _holds(BenchmarkRecord.from_json(text, "record").subjects == record.subjects, "the record reads back otherwise")
    _holds(json.loads(text)["subjects"][0]["target"] == target.name, "the JSON does not name the target")


def check_session(target: Target, source: Artifact) -> None:
    """1 + 2 = 3, twice; or Unsupported."""
    try:
        session = target.session(source)
    except Unsupported:
        return
    with session:
        for first in (1, 5):
            feeds = {"a": np.array([first], np.float32), "b": np.array([2], np.float32)}
            got = session.run(feeds)["sum"].tolist()
            _holds(got == [first + 2.0], f"{first} + 2 gives {got}")


def _holds(fact: bool, otherwise: str) -> None:
    if not fact:
        raise Broken(otherwise)

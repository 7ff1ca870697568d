"""What was measured, with every raw sample; JSON to and from.

    {"kind": "edgedl-benchmark", "schema_version": 1,
     "plan": {...}, "environment": {...},
     "subjects": [{"label": ..., "engine": ..., "rounds": [{"wall_ns": [...], "cpu_seconds": ..., ...}], ...}],
     "summary": [{"label": ..., "median_ns": {"value": ..., "low": ..., "high": ...}, "percentiles": [...], ...}]}

`summary` is derived from the rest, for readers without edgedl; it is not read back.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedl.errors import InvalidInput
from edgedl.measure.codec import decode
from edgedl.measure.environment import Environment
from edgedl.measure.plan import Plan

if TYPE_CHECKING:
    from edgedl.measure.summary import Summary

KIND = "edgedl-benchmark"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Round:
    """One burst. wall_ns: nanoseconds of each run. cpu_seconds: processor time of them all, over all threads.

    preemptions: involuntary context switches. position: when in its round the subject had its turn, from 0.
    """

    position: int
    wall_ns: tuple[int, ...]
    cpu_seconds: float
    preemptions: int

    def __post_init__(self) -> None:
        if not self.wall_ns or min(self.wall_ns) < 1 or self.cpu_seconds < 0:
            raise InvalidInput("a round needs at least one run, of 1 ns or more, and CPU seconds of 0 or more")


@dataclass(frozen=True)
class Figure:
    """What a target tells beside timed runs, or in their place.

    name: what it is, such as `instructions`. how: `counted`, `measured`, `estimated` or `predicted`.
    low, high: its 95 % interval in the same unit, where it has one.
    """

    name: str
    value: float
    unit: str
    how: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class HostParity:
    """The outputs on the target against those of the same file and inputs on this machine.

    max_abs, relative_rms: the worst output (see edgedl.verify.parity). exact: bit for bit. host_engine: name and version.
    """

    max_abs: float
    relative_rms: float
    exact: bool
    host_engine: str


@dataclass(frozen=True)
class Failure:
    """Why a subject has no figures. kind: `InvalidInput`, `Unavailable` or `EngineFailed`. message: one sentence."""

    kind: str
    message: str


@dataclass(frozen=True)
class Measured:
    """One subject as it was found.

    source: file name or task reference. sha256, size: of the model file (bytes). engine: name and version that ran.
    inputs: `golden` (stored with the artifact), `task` (real ones of the task), `given` or `seeded`.
    base_bytes, peak_bytes: resident, before the engine was imported and at the peak of loading and the first runs.
    rounds: as many as planned, or fewer where `failure` says why; none where the target gives `figures` in their place.
    target: where it ran, as in `--target`. machine: the target's own environment, where it is not this machine's.
    """

    label: str
    source: str
    format: str
    runtime: str
    device: str
    threads: int | None
    sha256: str | None = None
    size: int | None = None
    engine: str | None = None
    inputs: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    load_seconds: float | None = None
    first_ns: int | None = None
    base_bytes: int | None = None
    peak_bytes: int | None = None
    rounds: tuple[Round, ...] = ()
    failure: Failure | None = None
    target: str = "local"
    machine: Environment | None = None
    figures: tuple[Figure, ...] = ()
    parity: HostParity | None = None


@dataclass(frozen=True)
class BenchmarkRecord:
    """All subjects of one interleaved measurement; rounds of one number were taken side by side."""

    subjects: tuple[Measured, ...]
    plan: Plan
    environment: Environment
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not self.subjects:
            raise InvalidInput("a benchmark record needs at least one subject")
        for subject in self.subjects:
            _check_whole(subject, self.plan)

    @property
    def finished(self) -> tuple[Measured, ...]:
        """The subjects that have figures."""
        return tuple(subject for subject in self.subjects if subject.failure is None)

    @functools.cached_property
    def summaries(self) -> tuple[Summary | None, ...]:
        """The figures of each subject, None for those that failed or were not timed."""
        from edgedl.measure.summary import summarize

        return tuple(
            summarize(subject) if subject.rounds and not subject.failure else None for subject in self.subjects
        )

    def to_json(self) -> str:
        """The schema of the module's docstring."""
        summary = [summary and asdict(summary) for summary in self.summaries]
        return json.dumps({**asdict(self), "summary": summary}, separators=(",", ":"), allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> BenchmarkRecord:
        """InvalidInput, naming `source`, if the text is not a record of this schema version."""
        data = _parse(text, source)
        if data.get("kind") != KIND:
            raise InvalidInput(f"{source} is not a benchmark record (kind {data.get('kind')!r}, expected {KIND!r})")
        if data.get("schema_version") != SCHEMA_VERSION:
            version = data.get("schema_version")
            raise InvalidInput(f"{source} has schema version {version!r}, expected {SCHEMA_VERSION}: measure again")
        try:
            return decode(cls, data, "record")
        except InvalidInput as error:
            raise InvalidInput(f"{source} is not a whole benchmark record: {error}") from error

    @classmethod
    def open(cls, path: Path) -> BenchmarkRecord:
        """The record in a file; InvalidInput if it is not there or is none."""
        try:
            return cls.from_json(path.read_text(errors="replace"), str(path))
        except OSError as error:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{source} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{source} is not a benchmark record (a {type(data).__name__}, expected kind {KIND!r})")
    return data


def _check_whole(subject: Measured, plan: Plan) -> None:
    amounts = (subject.size, subject.load_seconds, subject.first_ns, subject.base_bytes, subject.peak_bytes)
    if any(amount is not None and amount < 0 for amount in amounts):
        raise InvalidInput(f"{subject.label!r} has a negative size, time or memory")
    if subject.figures and not subject.rounds:
        return
    if subject.failure is None and len(subject.rounds) != plan.rounds:
        raise InvalidInput(f"{subject.label!r} has {len(subject.rounds)} rounds, planned were {plan.rounds}")
    if subject.failure is None and None in (subject.engine, subject.load_seconds, subject.first_ns, subject.peak_bytes):
        raise InvalidInput(f"{subject.label!r} has rounds but no engine, load_seconds, first_ns or peak_bytes")

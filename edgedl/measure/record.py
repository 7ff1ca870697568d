"""What was measured, with every raw sample; JSON to and from.

    {"kind": "edgedl-benchmark", "schema_version": 2,
     "plan": {...}, "environment": {...},
     "subjects": [{"label": ..., "engine": ..., "rounds": [{"runs": ..., "samples": "...", ...}], ...}],
     "summary": [{"label": ..., "median_ns": {"value": ..., "low": ..., "high": ...}, "percentiles": [...], ...}]}

`summary` is derived from the rest, for readers without edgedl; it is not read back. docs/record.md tells every field.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedl import strict_json
from edgedl.errors import InvalidInput
from edgedl.measure.agreement import MOST_STEPS, SAME
from edgedl.measure.codec import decode
from edgedl.measure.environment import Environment
from edgedl.measure.plan import Plan
from edgedl.measure.profile import Profile
from edgedl.measure.samples import pack, unpack
from edgedl.measure.statistics import Samples

if TYPE_CHECKING:
    from edgedl.measure.summary import Summary

KIND = "edgedl-benchmark"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Round:
    """One burst.

    position: when in its round the subject had its turn, from 0. runs: how many. samples: their nanoseconds, packed.
    cpu_seconds: processor time of them all, over all threads. preemptions: involuntary context switches.
    at, seconds: when the burst began, from the start of the measurement, and how long it lasted over all streams.
    megahertz, celsius: the processor's clock and the hottest thermal zone at its end, where the system tells them.
    processor: the one that it ran on, where all subjects of a round were moved to one.
    """

    position: int
    runs: int
    samples: str
    cpu_seconds: float
    preemptions: int
    at: float = 0.0
    seconds: float = 0.0
    megahertz: float | None = None
    celsius: float | None = None
    processor: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.runs < 1 << 31 or self.wall_ns[0] < 1 or min(self.cpu_seconds, self.at, self.seconds) < 0:
            raise InvalidInput("a round needs at least one run, of 1 ns or more, and times of 0 or more")

    @classmethod
    def of(cls, position: int, wall_ns: Samples, cpu_seconds: float, preemptions: int, **more: Any) -> Round:
        """From the nanoseconds of each run, in any order."""
        return cls(position, len(wall_ns), pack(wall_ns), cpu_seconds, preemptions, **more)

    @functools.cached_property
    def wall_ns(self) -> Samples:
        """Nanoseconds of each run, sorted."""
        return unpack(self.samples, self.runs)


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the process. base: before the engine was imported; engine: after it was.

    load: the peak while the model was loaded. run: the peak of the first runs. gpu: of the process on the GPU.
    """

    base: int
    engine: int
    load: int
    run: int
    gpu: int | None = None

    def __post_init__(self) -> None:
        if min(self.base, self.engine, self.load, self.run, self.gpu or 0) < 0:
            raise InvalidInput("memory is negative")

    @property
    def peak(self) -> int:
        return max(self.load, self.run)

    @property
    def model(self) -> int:
        """What the model alone took at the peak, above the process with its engine."""
        return max(self.peak - self.engine, 0)


@dataclass(frozen=True)
class Start:
    """One cold start, in seconds. process: Python and edgedl. imported: the engine. load: the model. first: its first run.

    evicted: whether the model file was out of the page cache before.
    """

    process: float
    imported: float
    load: float
    first: float
    evicted: bool

    def __post_init__(self) -> None:
        if min(self.process, self.imported, self.load, self.first) < 0:
            raise InvalidInput("a start has a negative time")


@dataclass(frozen=True)
class Figure:
    """What a target tells beside timed runs, or in their place.

    name: what it is, such as `instructions`. how: `counted`, `measured`, `estimated` or `predicted`.
    low, high: its 95 % interval in the same unit, where it has one. basis: what it rests on, for what is not measured.
    """

    name: str
    value: float
    unit: str
    how: str
    low: float | None = None
    high: float | None = None
    basis: str | None = None


@dataclass(frozen=True)
class HostParity:
    """The outputs on the target against those of the same file and inputs on this machine.

    max_abs, relative_rms: the worst output (see edgedl.verify.parity). exact: bit for bit. host_engine: name and version.
    steps: the worst difference of the outputs that are integers in the file, in steps of their rounding; None without such.
    """

    max_abs: float
    relative_rms: float
    exact: bool
    host_engine: str
    steps: float | None = None


@dataclass(frozen=True)
class Failure:
    """Why a subject has no figures. kind: `InvalidInput`, `Unavailable`, `Unreachable` or `EngineFailed`. message: one sentence."""

    kind: str
    message: str


@dataclass(frozen=True)
class Measured:
    """One subject as it was found.

    source: file name or task reference. path: of the file, as it was given. sha256, size: of the model file (bytes).
    engine: name and version that ran.
    options: of the engine. affinity: the processors that it may run on, none where the system chooses.
    inputs: `golden` (stored with the artifact), `task` (real ones of the task), `given` or `seeded`; input_sets: how many
    take turns. import_seconds, load_seconds, first_ns: the engine, the model and its first run.
    starts: of the mode `cold`. profile: what its operators take. doubts: what could not be found, and why.
    rounds: as many as planned, or fewer where `failure` says why; none where the target gives `figures` in their place.
    target: where it ran, as in `--target`. machine: the target's own environment, where it is not this machine's.
    golden_rms: relative RMS of the engine's outputs to the golden outputs of the artifact, the worst of them; golden_steps: the
    same in steps of the outputs' rounding, where they are rounded.
    notes: sentences that belong to the figures. objection: why the model is nothing for the target, whose figures stand.
    quota: the share of its processors' time that the target allows.
    device_name: what a fleet file calls the target.
    """

    label: str
    source: str
    format: str
    runtime: str
    device: str
    threads: int | None
    options: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[int, ...] = ()
    sha256: str | None = None
    size: int | None = None
    engine: str | None = None
    inputs: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    input_sets: int = 1
    import_seconds: float | None = None
    load_seconds: float | None = None
    first_ns: int | None = None
    memory: Memory | None = None
    starts: tuple[Start, ...] = ()
    profile: Profile | None = None
    doubts: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()
    failure: Failure | None = None
    target: str = "local"
    machine: Environment | None = None
    figures: tuple[Figure, ...] = ()
    parity: HostParity | None = None
    golden_rms: float | None = None
    golden_steps: float | None = None
    notes: tuple[str, ...] = ()
    quota: float = 1.0
    objection: str | None = None
    device_name: str | None = None
    path: str | None = None

    @property
    def place(self) -> str:
        """Where it ran, as people call it; two subjects of one place were measured side by side."""
        return self.device_name or self.target

    @property
    def agrees(self) -> bool:
        """Whether the engine computes what the artifact was proven to compute, as far as that is known."""
        near = self.golden_rms is None or self.golden_rms <= SAME
        return near or (self.golden_steps is not None and self.golden_steps <= MOST_STEPS)

    @property
    def peak_bytes(self) -> int | None:
        """The largest resident size of the process."""
        return self.memory.peak if self.memory else None


@dataclass(frozen=True)
class BenchmarkRecord:
    """All subjects of one interleaved measurement; rounds of one number were taken side by side.

    no_energy: why the energy of none was counted.
    """

    subjects: tuple[Measured, ...]
    plan: Plan
    environment: Environment
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION
    no_energy: str | None = None

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
        data = strict_json.document(text, source, "benchmark record", KIND, SCHEMA_VERSION, ": measure again")
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


def _check_whole(subject: Measured, plan: Plan) -> None:
    amounts = (subject.size, subject.import_seconds, subject.load_seconds, subject.first_ns)
    if any(amount is not None and amount < 0 for amount in amounts):
        raise InvalidInput(f"{subject.label!r} has a negative size or time")
    if subject.figures and not subject.rounds:
        return
    if subject.failure is None and len(subject.rounds) != plan.rounds:
        raise InvalidInput(f"{subject.label!r} has {len(subject.rounds)} rounds, planned were {plan.rounds}")
    if subject.failure is None and None in (subject.engine, subject.load_seconds, subject.first_ns, subject.memory):
        raise InvalidInput(f"{subject.label!r} has rounds but no engine, load_seconds, first_ns or memory")

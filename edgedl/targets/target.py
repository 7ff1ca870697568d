"""What a target is; a plugin subclasses both classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgedl.errors import InvalidInput, Unsupported
from edgedl.measure import BenchmarkRecord, FeedsOf, Plan, Subject
from edgedl.measure.harness import Progress
from edgedl.runtime import Session, Source

Watch = Callable[[str], None]
"""Told, in a few words, what a long set-up does next."""


@dataclass(frozen=True)
class Status:
    """state: `ready` (detail: what is to be known of it), `set-up` (the command that does it) or `impossible` (the reason)."""

    state: Literal["ready", "set-up", "impossible"]
    detail: str = ""


class Target(ABC):
    """One place, such as `ssh://pi@board`; opening it touches nothing, using it may raise Unavailable.

    name: as in `--target`. machine: what it keeps busy, "" for this machine: one measurement at a time.
    """

    machine = ""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Progress
    ) -> BenchmarkRecord:
        """The record of all subjects on this target; a subject that fails keeps the reason and the others finish.

        Each subject carries the target's name, and timed rounds or figures. Only what was timed on a real device goes
        into rounds: what is counted, estimated or predicted is a Figure and says so.
        """

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        """A session whose model runs there; Unsupported where the target gives figures and no outputs."""
        raise Unsupported(f"target {self.name!r} gives figures and no outputs: verify on another (see: edgedl targets)")


class TargetKind(ABC):
    """A kind of target, by the name before the colon.

    name: as registered. summary: one line for `edgedl targets`. example: a whole `--target`. settings: what
    `edgedl target setup --set KEY=VALUE` takes, each with its meaning. requires, extra: as of a runtime.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    example: ClassVar[str]
    settings: ClassVar[Mapping[str, str]] = {}
    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    @abstractmethod
    def open(self, detail: str) -> Target:
        """The target of what stands behind the colon ("" where there is none); InvalidInput for what it cannot mean."""

    def status(self) -> Status:
        """Whether it can be used here and now; quick, and without a network."""
        return Status("ready")

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        """Make it ready. What was interrupted goes on where it stopped; what is ready stays as it is."""
        raise InvalidInput(f"target {self.name!r} needs no set-up")

    def remove(self, detail: str) -> None:
        """Undo the set-up; nothing happens where there was none."""
        raise InvalidInput(f"target {self.name!r} has no set-up that could be removed")

"""How the inputs of a task become runs of an artifact: as they are, or one step of the sequence at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edgedl.batching import batched
from edgedl.exporter import Program
from edgedl.runtime import Session
from edgedl.spec import Array, Feeds, State
from edgedl.task import Predict


class Adapter(Protocol):
    """states: what the artifact carries from run to run."""

    @property
    def states(self) -> tuple[State, ...]: ...

    def through(self, session: Session) -> Predict:
        """The session as a predict function over task inputs."""

    def program_run(self, feeds: Feeds) -> dict[str, Array]:
        """What the program is given at its first run over these task inputs."""

    def first_run(self, feeds: Feeds) -> dict[str, Array]:
        """The same for the artifact."""

    def runs(self, batches: Iterable[Feeds], load: Callable[[], Session]) -> Iterator[Feeds]:
        """What the artifact is given at every run over the batches; it is loaded where that depends on what it computes."""

    def drift(self, got: Feeds, want: Feeds) -> tuple[tuple[int, float], ...]:
        """(step, relative RMS error) along the sequence; empty where there is none."""


@dataclass(frozen=True)
class Direct:
    """A batch of task inputs is one run; channels last where the program says so."""

    program: Program | None = None
    states: tuple[State, ...] = ()

    def through(self, session: Session) -> Predict:
        return lambda feeds: batched(session.run, session.inputs)(self.first_run(feeds))

    def program_run(self, feeds: Feeds) -> dict[str, Array]:
        return dict(feeds)

    def first_run(self, feeds: Feeds) -> dict[str, Array]:
        return self.program.laid_out(feeds) if self.program else dict(feeds)

    def runs(self, batches: Iterable[Feeds], _: Callable[[], Session]) -> Iterator[Feeds]:
        return (self.first_run(feeds) for feeds in batches)

    def drift(self, got: Feeds, want: Feeds) -> tuple[tuple[int, float], ...]:
        return ()

"""What a training was and what came of it; JSON to and from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from edgedl import strict_json
from edgedl.engine import Engine
from edgedl.errors import InvalidInput
from edgedl.measure.codec import decode
from edgedl.measure.energy import Energy, grams_of_co2
from edgedl.measure.environment import Environment
from edgedl.task import Score

KIND = "edgedl-training"
POINTS = 2000
"""A loss curve holds so many points at most: each is the mean of equally many steps."""


@dataclass(frozen=True)
class Result:
    """The score on held-out data."""

    name: str
    value: float
    higher_is_better: bool
    samples: int


@dataclass(frozen=True)
class TrainingRecord:
    """fit: the stages in words. losses: of the training, each the mean of `steps / len(losses)` steps; empty if not told.

    seconds: of training, over all runs. resumed: the step that the last run began at. parameters: how many numbers.
    energy: of the last run, None where nothing could be counted; `energy_reason` then says why.
    grid: grams of CO2 per kWh, as the user stated it.
    """

    task: str
    description: str
    licence: str
    seed: int
    fit: str
    engine: Engine
    device: str
    parameters: int
    steps: int
    seconds: float
    resumed: int
    losses: tuple[float, ...]
    environment: Environment
    score: Result | None = None
    energy: Energy | None = None
    energy_reason: str | None = None
    grid: float | None = None

    @property
    def co2(self) -> float | None:
        """Grams, where the energy was measured and the grid is known."""
        return grams_of_co2(self.energy, self.grid) if self.energy and self.grid is not None else None

    def to_json(self) -> str:
        return strict_json.dumps({"kind": KIND, **asdict(self), "co2_grams": self.co2})

    @classmethod
    def open(cls, path: Path) -> TrainingRecord:
        """InvalidInput, naming the place, for what is none."""
        import json

        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} is no record of a training: {error}") from error
        if not isinstance(data, dict) or data.pop("kind", None) != KIND:
            raise InvalidInput(f"{path} is no record of a training: expected kind {KIND!r}")
        data.pop("co2_grams", None)
        return decode(cls, data, str(path))


def result(score: Score | None) -> Result | None:
    return Result(score.name, float(score.value), score.higher_is_better, len(score.samples)) if score else None


def curve(losses: tuple[float, ...]) -> tuple[float, ...]:
    """At most POINTS means of neighbours."""
    width = -(-len(losses) // POINTS) or 1
    return tuple(sum(part) / len(part) for part in (losses[i : i + width] for i in range(0, len(losses), width)))

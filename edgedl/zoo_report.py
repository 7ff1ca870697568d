"""The whole zoo through the whole way: train, export, quantize, prove, measure; one entry for each task.

What is finished is kept in `out/NAME/zoo.json` and not done again; what was interrupted goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgedl import strict_json, zoo
from edgedl.errors import EdgedlError, InvalidInput
from edgedl.files import output_folder, write_atomic
from edgedl.measure.codec import decode
from edgedl.measure.energy import Energy
from edgedl.measure.statistics import Estimate
from edgedl.optimizing import Optimized, optimize
from edgedl.recipe import Recipe
from edgedl.report.footprint import energy_of
from edgedl.report.rows import Row
from edgedl.task import Progress
from edgedl.training_record import TrainingRecord

SCHEMES = ("w8a8", "w8")
"""The first is refused for small recurrent layers, for which there is the second."""


@dataclass(frozen=True)
class ZooRow:
    """One artifact, or the original, in its engine. median: wall nanoseconds per run. size: bytes.

    energy: joules per run above idle, as counted on this machine; None where nothing counts them.
    """

    name: str
    scheme: str | None
    engine: str | None
    size: int | None
    score: float | None
    drop: float | None
    median: Estimate | None
    proven: bool | None
    energy: Energy | None = None

    @classmethod
    def of(cls, row: Row) -> ZooRow:
        energy = energy_of(row.measured) if row.measured else None
        return cls(row.name, row.scheme, row.engine, row.size, row.score, row.drop, row.median, row.proven, energy)


@dataclass(frozen=True)
class ZooEntry:
    """recipe: of the run, as TOML. score: what it is called. training: in a sentence. energy: of the training, or why not.

    refused: what was not made, and why. no_energy: why the rows have none. failure: why there are no rows.
    """

    task: str
    description: str
    licence: str
    recipe: str
    score: str = "score"
    rows: tuple[ZooRow, ...] = ()
    refused: tuple[str, ...] = ()
    training: str = ""
    energy: str = ""
    verdict: str = ""
    no_energy: str | None = None
    failure: str | None = None


def zoo_report(
    names: Sequence[str] = (), out: str | Path = "zoo", *, schemes: Iterable[str] = SCHEMES, seconds: float = 1.0,
    said: Callable[[str], None] = lambda step: None, progress: Progress = lambda done, total: None,
) -> tuple[ZooEntry, ...]:  # fmt: skip
    """Carry all tasks (or `names`) through, write `out/zoo.html`, `zoo.md` and `zoo.json`, and return the entries.

    seconds: measuring time of each artifact. A task that fails has its sentence in its entry, and the others go on.
    UnknownName for a task that the zoo has not.
    """
    from edgedl.report.zoo import pages

    folder = output_folder(Path(out))
    chosen = [zoo.task(name).name for name in dict.fromkeys(names or zoo.names())]
    entries = []
    for number, name in enumerate(chosen, 1):
        said(f"{number} of {len(chosen)}: {name}")
        recipe = Recipe(f"zoo:{name}", schemes=tuple(schemes), seconds=seconds)
        entries.append(_finished(folder / name, recipe) or _carried(name, folder / name, recipe, said, progress))
        for file, text in pages(tuple(entries)).items():
            write_atomic(folder / file, text.encode())
    return tuple(entries)


def _finished(folder: Path, recipe: Recipe) -> ZooEntry | None:
    """What an earlier run of the recipe left."""
    try:
        entry = decode(ZooEntry, json.loads((folder / "zoo.json").read_text()), str(folder))
    except (OSError, ValueError, InvalidInput):
        return None
    return entry if entry.recipe == recipe.to_toml() else None


def _carried(name: str, folder: Path, recipe: Recipe, said: Callable[[str], None], progress: Progress) -> ZooEntry:
    task = zoo.task(name)
    begun = ZooEntry(name, task.description, task.licence, recipe.to_toml())
    try:
        entry = _told(begun, optimize(recipe, folder, said=said, progress=progress))
    except EdgedlError as error:
        return ZooEntry(name, task.description, task.licence, recipe.to_toml(), failure=str(error))
    write_atomic(folder / "zoo.json", strict_json.dumps(asdict(entry)).encode())
    return entry


def _told(begun: ZooEntry, done: Optimized) -> ZooEntry:
    from edgedl.report.training import energy_words, sentence

    record = TrainingRecord.open(done.folder / f"{begun.task}.training.json")
    rows, measured = tuple(map(ZooRow.of, done.report.rows)), done.report.record
    refused = tuple(f"{name}: {why}" for name, why in done.refused.items())
    return ZooEntry(
        begun.task, begun.description, begun.licence, begun.recipe, record.score.name if record.score else "score",
        rows, refused, sentence(record), energy_words(record), done.report.choice.sentence,
        measured.no_energy if measured else None,
    )  # fmt: skip

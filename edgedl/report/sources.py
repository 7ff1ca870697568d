"""Finds artifacts, the benchmark record and comparisons of layers among files and folders."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl import comparison
from edgedl.artifact import FORMATS, Artifact, is_group, is_model
from edgedl.comparison import Comparison
from edgedl.errors import EdgedlError, InvalidInput
from edgedl.measure import BenchmarkRecord, Measured
from edgedl.measure.record import KIND

_KINDS = (KIND, comparison.KIND)


@dataclass(frozen=True)
class Found:
    artifacts: tuple[Artifact, ...]
    record: BenchmarkRecord | None
    layers: tuple[Comparison, ...]


def collect(sources: Sequence[Path]) -> Found:
    """The artifacts, the one record and the comparisons in `sources`, and the measured files where they are still found.

    InvalidInput for a path that is not there, a folder with none of them, a file that is none, or a second record:
    only what was measured side by side can be compared.
    """
    files = dict.fromkeys(file for source in sources for file in _files(source))
    compared = [file for file in files if file.suffix == ".json" and _kind(file) == comparison.KIND]
    records = [file for file in files if file.suffix == ".json" and file not in compared]
    if len(records) > 1:
        raise InvalidInput(_too_many(records))
    artifacts = tuple(Artifact.open(file) for file in files if is_model(file))
    record = BenchmarkRecord.open(records[0]) if records else None
    measured = _measured_files(record, records[0], artifacts) if record else ()
    return Found((*artifacts, *measured), record, tuple(map(Comparison.open, compared)))


def _too_many(records: Sequence[Path]) -> str:
    return (
        f"more than one benchmark record ({', '.join(map(str, records))}), and only what ran side by side compares: "
        f"give one of them, and the report finds the files it measured: edgedl report {records[0]}"
    )


def _measured_files(record: BenchmarkRecord, file: Path, known: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """The files that the record measured and nobody gave: where it says, or beside it; the checksum decides."""
    names = {artifact.path.name for artifact in known}
    wanted = [subject for subject in record.subjects if subject.sha256 and subject.source not in names]
    found = (_measured_file(subject, file.parent) for subject in wanted)
    return tuple({artifact.path: artifact for artifact in found if artifact}.values())


def _measured_file(subject: Measured, folder: Path) -> Artifact | None:
    given = Path(subject.path or subject.source)
    for path in (given, folder / given, folder / given.name, Path(given.name)):
        with contextlib.suppress(EdgedlError, OSError):
            artifact = Artifact.open(path)
            if artifact.sha256 == subject.sha256:
                return artifact
    return None


def _files(source: Path) -> Iterator[Path]:
    if source.is_dir() and not is_group(source):
        yield from _in_folder(source)
    elif not source.exists():
        raise InvalidInput(f"no such file or folder: {source}")
    elif is_model(source) or source.suffix == ".json":
        yield source
    else:
        known = ", ".join([*FORMATS, ".json"])
        raise InvalidInput(f"{source} is neither a model file nor a benchmark record: expected one of {known}")


def _in_folder(folder: Path) -> list[Path]:
    there = sorted(file for file in folder.iterdir() if file.is_file() or is_group(file))
    found = [file for file in there if is_model(file) or (file.suffix == ".json" and _kind(file) in _KINDS)]
    if not found:
        raise InvalidInput(f"{folder} holds no model file and no benchmark record")
    return found


def _kind(file: Path) -> str | None:
    """What the JSON file says that it is."""
    try:
        data = json.loads(file.read_text(errors="replace"))
    except (OSError, ValueError, RecursionError):
        return None
    return str(data.get("kind")) if isinstance(data, dict) else None

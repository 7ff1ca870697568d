"""`runtime="fastest"`: the engine that was measured to be the fastest for one file on one machine, remembered.

The choice is kept in `$XDG_CACHE_HOME/edgedl/fastest.json`, under the file's digest, the machine, the number of threads
and the engines' versions: it stays the same until one of these changes. Only engines that agree with the first are chosen.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput
from edgedl.files import sha256, write_atomic
from edgedl.isolated import IsolatedSession
from edgedl.measure import BenchmarkRecord, InputChoice, Plan, measure, speedup, subjects_of
from edgedl.measure.environment import environment
from edgedl.measure.summary import is_faster
from edgedl.runtime import runtimes_for
from edgedl.schemes import SCHEMES
from edgedl.verify.parity import compare

PLAN = Plan(runs=60, seconds=0.6, rounds=12)


@dataclass(frozen=True)
class Choice:
    """runtime: its name. why: one sentence."""

    runtime: str
    why: str


def fastest(artifact: Artifact, threads: int | None = None) -> Choice:
    """The remembered choice, or that of a measurement of a second for each installed engine.

    The first engine of the format stays where no other is faster beyond doubt. InvalidInput where no engine loads the file.
    """
    names = runtimes_for(artifact)
    if not names:
        raise InvalidInput(f"{artifact.path}: no installed engine loads {artifact.format} models: see edgedl doctor")
    if len(names) == 1:
        return Choice(names[0], "it is the only engine installed for this format")
    key, known = _key(artifact, names, threads), _remembered()
    if known.get(key) in names:
        return Choice(known[key], f"remembered in {cache_file()}")
    choice = _measured(artifact, names, threads)
    _remember({**known, key: choice.runtime})
    return choice


def cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgedl" / "fastest.json"


def _key(artifact: Artifact, names: list[str], threads: int | None) -> str:
    here = environment()
    versions = ",".join(f"{name}={version}" for name, version in sorted(here.packages.items()))
    return f"{sha256(artifact.path)} {here.cpu} x{here.cores} threads={threads} {','.join(names)} {versions}"


def _remembered() -> dict[str, str]:
    """What is kept; a file that is not there or not ours remembers nothing."""
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(cache_file().read_text())
        if isinstance(kept, dict):
            return {key: name for key, name in kept.items() if isinstance(name, str)}
    return {}


def _remember(choices: dict[str, str]) -> None:
    """On a machine without a place for it, each process measures anew."""
    with contextlib.suppress(OSError):
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(cache_file(), json.dumps(choices, indent=1).encode())


def _measured(artifact: Artifact, names: list[str], threads: int | None) -> Choice:
    subjects = subjects_of([artifact], names, threads=[threads or 1])
    record = measure(subjects, InputChoice(subjects), PLAN, lambda done, total: None)
    return chosen(record, set(_agreeing(artifact, names, threads)))


def chosen(record: BenchmarkRecord, agreeing: set[str]) -> Choice:
    """Of the first subject, and of those that are faster than it beyond doubt, the one with the best ratio."""
    usable = [subject for subject in record.finished if subject.runtime in agreeing]
    if not usable:
        raise EngineFailed(f"no engine could run {record.subjects[0].source}: {record.subjects[0].failure}")
    first, *others = usable
    gains = {other.runtime: speedup(other, first) for other in others}
    better = {name: gain for name, gain in gains.items() if is_faster(gain)}
    if not better:
        return Choice(first.runtime, "no other engine that agrees with it is faster beyond doubt")
    best = max(better, key=lambda name: better[name].value)
    return Choice(best, f"{better[best].value:.2f}x as fast as {first.runtime}")


def _agreeing(artifact: Artifact, names: list[str], threads: int | None) -> Iterator[str]:
    """The engines whose outputs stay within the scheme's tolerance of the first one's; fp32's where it is not told."""
    tolerance = SCHEMES[artifact.manifest.scheme if artifact.manifest else "fp32"].tolerance.relative_rms
    want = None
    for name in names:
        with contextlib.suppress(EdgedlError), IsolatedSession(artifact, name, threads=threads) as session:
            (subject,) = subjects_of([artifact], [name])
            got = session.run(InputChoice([subject])(subject, session.inputs).feeds)
            want = want or got
            if not any(compare("fastest", output, got[output], want[output], tolerance).failure for output in want):
                yield name

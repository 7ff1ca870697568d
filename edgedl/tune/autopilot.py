"""`edgedl quantize --auto`: the cheapest mixture within the budget, found in bounded time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from edgedl import calibration as sources
from edgedl import quantizing
from edgedl.artifact import Artifact
from edgedl.delivery import versions
from edgedl.errors import EdgedlError, GateFailed, InvalidInput
from edgedl.exporter import AUTO, DEFAULT_OPTIONS, QuantizationOptions
from edgedl.exporting import Subject
from edgedl.files import output_folder, refuse_existing, sha256, staging
from edgedl.quantizing import Job, job, target_of
from edgedl.tune.examples import Scorer
from edgedl.tune.journal import Journal
from edgedl.tune.search import FLOAT, WIDE, Bench, Found, search
from edgedl.tune.sensitivity import RUNS, Sensitivity, sensitivities
from edgedl.tune.trial import Trial, run_trial, scored_once

SECONDS = 120.0
Told = Callable[[str], None]


def autotune(
    artifact: str | Path | Artifact, scheme: str = "w8a8", out: str | Path | None = None, *, task: Subject | None = None,
    calibration: str | None = None, samples: int = sources.SAMPLES, max_drop: float | None = None, seconds: float = SECONDS,
    force: bool = False, speed_check: bool = True, allow_slower: bool = False, allow_constant: bool = False, target: str = "local",
    options: QuantizationOptions = DEFAULT_OPTIONS, shapes: Sequence[str] = (), told: Told = lambda line: None,
) -> Artifact:  # fmt: skip
    """Write what `edgedl.quantize` writes, with the options that a search of `seconds` finds to lose no more than `max_drop`.

    options: where the search begins. told: of each trial. AUTO in `wide`: 16-bit activations are tried before float.
    The arguments else are those of `edgedl.quantize`.
    A journal beside the result remembers the trials; the same call goes on after an interruption. GateFailed, with the best
    that was found and what it costs, where the budget cannot be met; InvalidInput where there is no score to hold it against.
    """
    if not seconds > 0:
        raise InvalidInput(f"--time {seconds:g}: expected a number of seconds above 0")
    source = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
    wanted, path = target_of(source, scheme, out, max_drop, allow_constant)
    if not force:
        refuse_existing(path)
    output_folder(path.parent)
    if not allow_slower and not source.group:
        quantizing.refuse_unsuitable(source, wanted)
    with job(source, wanted, path, task, calibration, samples, shapes=shapes) as opened:
        if opened.reference.evaluate is None:
            raise InvalidInput(
                f"--auto needs a score to hold the budget against, and the original of {source.path} has no evaluate: "
                "give a task that has one with --task"
            )
        opened, scorer = scored_once(opened)
        found = _searched(opened, scorer, seconds, options, told)
        judge = quantizing.speed_judge(lambda: source, target) if speed_check else None
        return _delivered(opened, found, judge, allow_slower)


def _searched(opened: Job, scorer: Scorer, seconds: float, options: QuantizationOptions, told: Told) -> Found:
    """The journal stays where the search was cut short: the same call goes on from it."""
    deadline = time.monotonic() + seconds
    ways = (WIDE, FLOAT) if AUTO in options.wide else (FLOAT,)
    begin = replace(options, wide=tuple(name for name in options.wide if name != AUTO))
    journal = Journal(_journal_path(opened.path), _key(opened))
    with staging(opened.path.parent) as folder:
        trial_file = folder / f"trial{opened.exporter.suffix}"
        run = functools.partial(_trial, opened, scorer, trial_file)
        bench = Bench(run, journal, deadline, lambda what, trial: told(_line(what, trial)))
        found = search(bench, functools.partial(_ranked, opened, trial_file), begin, ways)
    if found.best.passed and found.best.scored is None:
        journal.remove()
    return found


def _trial(opened: Job, scorer: Scorer, path: Path, options: QuantizationOptions, whole: bool) -> Trial:
    return run_trial(opened, scorer, options, path, whole)


def _ranked(opened: Job, path: Path, options: QuantizationOptions) -> list[Sensitivity]:
    """On the calibration runs; the trial's file is made again, for the last one may have been another. Nothing if it cannot be."""
    try:
        opened.write(options, path)
    except EdgedlError:
        return []
    runs = list(islice(opened.runs(), RUNS)) if opened.runs else [opened.reference.batches[0]]
    return sensitivities(opened.exporter, opened.source.path, path, runs)


def _delivered(opened: Job, found: Found, judge: Any, allow_slower: bool) -> Artifact:
    try:
        return opened.deliver(found.best.options, judge, allow_slower, search=_record(found))
    except GateFailed as failure:
        if found.best.passed and found.best.scored is None:
            raise
        time_ = " in the time that was given (--time)" if found.out_of_time else ""
        raise GateFailed(f"the budget cannot be met{time_}; {_best(found)}: {failure}") from failure


def _best(found: Found) -> str:
    kept = f"{len(found.kept)} layers kept from int8" if found.kept else "every layer in int8"
    lost = "nothing could be made" if found.best.drop is None else f"loses {found.best.drop:.4g} with {kept}"
    return f"the best of {found.trials} trials {lost}"


def _record(found: Found) -> dict[str, Any]:
    scored = [{"examples": count, "of": of, "trials": trials} for (count, of), trials in found.scored.items()]
    kept = [asdict(layer) for layer in found.kept]
    return {"trials": found.trials, "out_of_time": found.out_of_time, "kept": kept, "scored": scored}


def _line(what: str, trial: Trial) -> str:
    if not trial.size:
        return f"{what}: not here ({trial.failure.splitlines()[0]})"
    part = f" on {trial.scored:,} of {trial.examples:,} examples" if trial.scored else ""
    drop = "" if trial.drop is None else f"drop {trial.drop:.4g}{part}, "
    return f"{what}: {drop}relative RMS error {trial.relative_rms:.2g}, {'passes' if trial.passed else 'fails'}"


def _journal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.search.jsonl")


def _key(opened: Job) -> str:
    """The trials of one file, one budget and one set of packages; they are of no use to another."""
    told = {key: value for key, value in opened.provenance.items() if key != "made_in"}
    return f"{sha256(opened.source.path)} {opened.scheme} {sorted(told.items(), key=str)} {sorted(versions().items())}"

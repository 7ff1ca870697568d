"""What to do about a quantization that lost too much: layers in float, tried, so that the command that is told passes."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.delivery import cases_of, prove_session
from edgedl.errors import EdgedlError, Unsupported
from edgedl.exporter import QuantizationOptions
from edgedl.isolated import IsolatedSession
from edgedl.quantizing import Job
from edgedl.spec import Feeds
from edgedl.tune.search import most_sensitive
from edgedl.tune.sensitivity import RUNS, sensitivities
from edgedl.tune.trial import scored_once

MORE = (2, 2, 4)
"""Layers that are kept in float beyond those before, in each trial"""
SECONDS = 60.0
"""after which no further trial is begun"""


def remedy(job: Job, options: QuantizationOptions, failed: Path) -> str:
    """`with --keep-float A --keep-float B it passes`, for the file that was written with `options`; empty where none is found.

    Each trial is the whole gate: the same cases, the same score.
    """
    deadline = time.monotonic() + SECONDS
    tried = scored_once(job)[0] if job.reference.evaluate else job
    trial = failed.with_name(f"remedy{job.exporter.suffix}")
    try:
        return _found(tried, options, failed, trial, deadline)
    except EdgedlError:  # an explanation must not hide what it explains
        return ""
    finally:
        trial.unlink(missing_ok=True)


def _found(job: Job, options: QuantizationOptions, failed: Path, trial: Path, deadline: float) -> str:
    runs, written = list(islice(_runs(job), RUNS)), failed
    for more in MORE:
        ranked = most_sensitive(sensitivities(job.exporter, job.source.path, written, runs))
        fresh = [name for name in ranked if name not in options.keep_float][:more]
        if not fresh or time.monotonic() > deadline:
            return ""
        passes, options = _tried(job, options, fresh, trial)
        if passes:
            return f"with {_words(options.keep_float)} it passes"
        written = trial
    return ""


def _tried(
    job: Job, options: QuantizationOptions, names: Sequence[str], path: Path
) -> tuple[bool, QuantizationOptions]:
    """Whether it passes with these layers in float too; without the last of them, where nothing would be left."""
    more = replace(options, keep_float=(*options.keep_float, *names))
    try:
        return _passes(job, more, path), more
    except Unsupported:
        if len(names) < 2:
            raise
        return _tried(job, options, names[:-1], path)


def _runs(job: Job) -> Iterable[Feeds]:
    """The calibration runs; where the scheme needs none, those of the proof."""
    return job.runs() if job.runs else map(job.reference.adapter.first_run, job.reference.batches)


def _passes(job: Job, options: QuantizationOptions, path: Path) -> bool:
    job.write(options, path)
    with IsolatedSession(Artifact(path), job.exporter.runtimes[0], foreign=False) as session:
        return prove_session(session, job.reference, job.scheme, cases_of(session, job.reference)).passed


def _words(layers: Sequence[str]) -> str:
    """As they are typed into a shell."""
    return " ".join(f"--keep-float {shlex.quote(name)}" for name in layers)

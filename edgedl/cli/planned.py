"""What `edgedl benchmark` is asked to measure, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgedl.measure import Plan, Subject

DEFAULTS: dict[str, dict[str, Any]] = {
    "cold": {"rounds": 10},
    "sustained": {"seconds": 120.0, "rounds": 60},
}
"""mode -> the defaults that are its own"""


def plan_of(options: dict[str, Any]) -> Plan:
    """With the defaults of the mode; UsageError for --streams in another."""
    import os

    from edgedl.measure import Plan

    mode = options["mode"]
    given = {name: options[name] for name in ("seconds", "rounds") if options[name] is not None}
    streams = (options["streams"] or os.cpu_count() or 1) if mode == "throughput" else 1
    if options["streams"] and mode != "throughput":
        raise click.UsageError(f"--streams belongs to --mode throughput, not to {mode}")
    stated = {name: options[name] for name in ("runs", "profile", "timeout")}
    return Plan(**{**stated, **DEFAULTS.get(mode, {}), **given, "mode": mode, "streams": streams})


def subjects_of(artifacts: tuple[str, ...], options: dict[str, Any]) -> list[Subject]:
    """Every artifact in every engine and number of threads that is asked for."""
    from dataclasses import replace

    from edgedl import measure
    from edgedl.reference import TaskReference
    from edgedl.runtime import as_source

    sources = [as_source(text) for text in dict.fromkeys(artifacts)]
    sources = [
        replace(s, weights=options["weights"], inputs=options["inputs"], shapes=options["shapes"])
        if isinstance(s, TaskReference)
        else s
        for s in sources
    ]
    shared_by_all = (options["threads"], options["engine_options"], options["affinity"])
    return measure.subjects_of(sources, options["runtimes"], options["device"], *shared_by_all)

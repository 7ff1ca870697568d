"""How the figures were taken and on what machine, in words."""

from __future__ import annotations

from edgedl.measure import BenchmarkRecord, Measured, Plan
from edgedl.measure.environment import Environment
from edgedl.measure.summary import PROCESS_SPREAD
from edgedl.report import units
from edgedl.report.build import Report

_INPUTS = {
    "golden": "stored with the artifacts",
    "task": "real ones of the task",
    "given": "seeded, of the shapes asked for",
    "seeded": "seeded, for no real ones were known",
    "random": "random ones, made by the target's own program",
}


def machines(record: BenchmarkRecord) -> list[tuple[str, Environment]]:
    """(title, environment) of each machine that was measured on, by its place; of this one where others stood beside it."""
    others = {subject.place: subject.machine for subject in record.subjects if subject.machine}
    if not others:
        return [("Environment", record.environment)]
    here = any(subject.machine is None and not subject.failure for subject in record.subjects)
    told = [(f"Environment of {place}", there) for place, there in others.items()]
    return [*told, *([("Environment of this machine", record.environment)] if here else [])]


def environment_facts(there: Environment) -> list[tuple[str, str]]:
    """(what, value), without what could not be read."""
    facts = [
        ("Board", there.board or ""),
        ("Processor", f"{there.cpu}, {there.cores} cores"),
        ("Instructions", ", ".join(there.flags)),
        ("Memory", units.size(there.memory_bytes)),
        ("System", ", ".join(filter(None, (there.distribution, there.system)))),
        ("Python", there.python),
        ("Packages", ", ".join(f"{name} {version}" for name, version in there.packages.items())),
        ("Governor", there.governor or ""),
        ("Container", ", ".join(f"{name} {limit}" for name, limit in (there.container or {}).items())),
        ("Load average", _load(there.load_before, there.load_after)),
        ("Date", there.date),
    ]
    return [(name, value) for name, value in facts if value and value != units.NONE]


def method(report: Report) -> list[str]:
    """Sentences; those of timed runs only where something ran."""
    record = report.record
    if record is None:
        return []
    ran = any(subject.rounds or subject.failure for subject in record.subjects)
    how = _timed(record.plan, record.finished) if ran else ["Nothing ran: all figures are what the target tells."]
    budget = units.short(report.max_drop)
    return [*how, f"An artifact is recommended only if it is proven and loses at most {budget} of the score."]


def _timed(plan: Plan, finished: tuple[Measured, ...]) -> list[str]:
    kinds = dict.fromkeys(subject.inputs or "" for subject in finished)
    return [
        f"Each artifact ran in {_PROCESSES[plan.mode].format(plan=plan)}.",
        f"Inputs: {'; '.join(_INPUTS.get(kind, kind) for kind in kinds) or 'none'}.",
        "Medians are of wall time; intervals are 95 % bootstrap intervals over rounds. Faster and slower are said only "
        "where the interval of the ratio of paired rounds, to which what differs from process to process is added "
        f"({PROCESS_SPREAD:.0%}), excludes 1.",
        "p90 and p99 are given only from the number of runs on that MLPerf's early-stopping rule asks for.",
        "Peak memory is the largest resident size of the process while it loaded the model and first ran it.",
    ]


_WARM = (
    "at least {plan.runs} runs and {plan.seconds:g} s for each in all, after a warm-up of {plan.warmup_runs} runs and "
    "{plan.warmup_seconds:g} s"
)
_PROCESSES = {
    "latency": "a process of its own: {plan.rounds} rounds interleaved in random order (seed {plan.seed}), " + _WARM,
    "throughput": "{plan.streams} processes at once: {plan.rounds} rounds interleaved in random order (seed {plan.seed}), " + _WARM,
    "cold": "{plan.rounds} new processes, with its file out of the page cache, interleaved in random order (seed {plan.seed})",
    "sustained": "a process of its own, one after the other and each without a pause: {plan.rounds} rounds, " + _WARM,
}  # fmt: skip
"""mode -> what ran"""


def _load(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{before:.2f} before, {after:.2f} after"

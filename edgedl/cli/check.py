"""`edgedl check`: whether a model is slower, larger or worse than before, by more than is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedl.cli import options as shared

if TYPE_CHECKING:
    from edgedl.artifact import Artifact
    from edgedl.measure import BenchmarkRecord
    from edgedl.measure.gates import Gate, Limits

EXAMPLES = """\b
Examples:
  edgedl check new/digits.onnx --baseline old/digits.onnx --max-slowdown 5%
  edgedl check digits.w8a8.tflite --max-size 200kB --max-drop 0.5%
  edgedl check digits.onnx --baseline report.json --max-slowdown 5% --junit check.xml
  edgedl check new.json --baseline old.json --max-slowdown 10%
"""


@click.command(name="check", epilog=EXAMPLES)
@click.argument("current", metavar="ARTIFACT|RECORD...", nargs=-1, required=True)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="FILE",
    help="What to hold it against: the model file of before, measured side by side, or a benchmark record.",
)
@click.option(
    "--max-slowdown",
    callback=lambda ctx, option, text: shared.fraction(text),
    metavar="SHARE",
    help="Largest loss of speed that passes, as 5%.",
)
@click.option(
    "--max-size",
    callback=lambda ctx, option, text: shared.byte_count(text),
    metavar="BYTES",
    help="Largest model file that passes, as 200kB.",
)
@click.option(
    "--max-drop",
    callback=lambda ctx, option, text: shared.fraction(text),
    metavar="SHARE",
    help="Largest loss of the task's score, below the original's, that passes, as 0.5%.",
)
@click.option("--runtime", "runtimes", multiple=True, default=("auto",), show_default=True, help="Engine; repeatable.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the engine.")
@click.option("--seconds", type=click.FloatRange(0, 1e6), default=4.0, show_default=True, help="Time for each model.")
@click.option("--rounds", type=click.IntRange(6), default=40, show_default=True, help="Interleaved bursts of each.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the result as a JUnit file, too.")
@shared.force
@shared.as_json
def command(current: tuple[str, ...], junit: Path | None, force: bool, as_json: bool, **options: Any) -> None:
    """Fail on a real regression, and on nothing else.

    A gate fails where the loss is over its limit and its 95 % interval excludes no loss at all; what is over the
    limit and cannot be told from noise is told as unclear, and passes.
    """
    from edgedl.errors import GateFailed
    from edgedl.files import refuse_existing, write_atomic
    from edgedl.measure.gates import Limits
    from edgedl.report.junit import render

    limits = Limits(options["max_slowdown"], options["max_size"], options["max_drop"])
    _check_call(limits, options["baselines"])
    if junit and not force:
        refuse_existing(junit)
    gates = _gates(current, limits, options)
    if junit:
        write_atomic(junit, render(gates))
    _show(gates, as_json)
    if failed := [gate for gate in gates if gate.state == "failed"]:
        raise GateFailed(
            f"{len(failed)} of {len(gates)} gates failed, the first: {failed[0].subject}: {failed[0].sentence}"
        )


def _check_call(limits: Limits, baselines: tuple[str, ...]) -> None:
    if limits.slowdown is None and limits.size is None and limits.drop is None:
        raise click.UsageError("nothing to check: give --max-slowdown, --max-size or --max-drop")
    if limits.slowdown is not None and not baselines:
        raise click.UsageError("--max-slowdown needs --baseline: the model file of before, or a benchmark record")
    if limits.slowdown is None and baselines:
        raise click.UsageError("--baseline is for --max-slowdown, which is not given")


def _gates(current: tuple[str, ...], limits: Limits, options: dict[str, Any]) -> list[Gate]:
    from edgedl.artifact import Artifact
    from edgedl.errors import InvalidInput
    from edgedl.measure import BenchmarkRecord
    from edgedl.measure.gates import drop_gate, size_gate

    records = [BenchmarkRecord.open(Path(text)) for text in current if text.endswith(".json")]
    artifacts = [Artifact.open(text) for text in current if not text.endswith(".json")]
    if len(records) + bool(artifacts) > 1:
        raise InvalidInput("give either model files or one benchmark record, for only what ran side by side compares")
    if records and limits.drop is not None:
        raise InvalidInput("the score is told by the manifest beside a model file: give the file to check its drop")
    gates = _time_gates(artifacts, records, limits.slowdown, options) if limits.slowdown is not None else []
    if limits.size is not None:
        gates += [size_gate(subject, limits.size) for subject in _sized(artifacts, records)]
    if limits.drop is not None:
        gates += [drop_gate(artifact, limits.drop) for artifact in artifacts]
    return gates


def _sized(artifacts: list[Artifact], records: list[BenchmarkRecord]) -> list[Any]:
    """Of each file once."""
    from edgedl.measure import Subject, describe

    told = [describe(Subject(a.path.name, a)) for a in artifacts] or records[0].subjects
    return list({subject.sha256: subject for subject in told if subject.size is not None}.values())


def _time_gates(
    artifacts: list[Artifact], records: list[BenchmarkRecord], limit: float, options: dict[str, Any]
) -> list[Gate]:
    from edgedl.artifact import Artifact
    from edgedl.errors import InvalidInput
    from edgedl.measure import BenchmarkRecord
    from edgedl.measure.gates import counterpart, same_machine, time_gate

    baselines: tuple[str, ...] = options["baselines"]
    if not any(text.endswith(".json") for text in baselines):
        if records:
            raise InvalidInput("a record is held against a record: give model files on both sides, or records on both")
        return _side_by_side(artifacts, [Artifact.open(text) for text in baselines], limit, options)
    if len(baselines) > 1:
        raise InvalidInput("give one benchmark record to --baseline, or model files only")
    old = BenchmarkRecord.open(Path(baselines[0]))
    new = records[0] if records else _measure(artifacts, options)
    same_machine(new, old)
    return [time_gate(subject, counterpart(subject, old), limit, paired=False) for subject in new.subjects]


def _side_by_side(
    artifacts: list[Artifact], baselines: list[Artifact], limit: float, options: dict[str, Any]
) -> list[Gate]:
    """New and old in one interleaved measurement: the finest comparison there is."""
    from edgedl.measure.gates import before, time_gate

    pairs = [(artifact, before(artifact, baselines)) for artifact in artifacts]
    record = _measure([*artifacts, *(old for _, old in pairs)], options)
    half = len(record.subjects) // 2
    both = zip(record.subjects[:half], record.subjects[half:], strict=True)
    return [time_gate(new, old, limit, paired=True) for new, old in both]


def _measure(artifacts: list[Artifact], options: dict[str, Any]) -> BenchmarkRecord:
    from edgedl.cli.output import progress_bar
    from edgedl.measure import InputChoice, Plan, measure, subjects_of

    subjects = subjects_of(artifacts, options["runtimes"], threads=(options["threads"],))
    plan = Plan(seconds=options["seconds"], rounds=options["rounds"])
    with progress_bar("Measuring") as progress:
        return measure(subjects, InputChoice(subjects), plan, progress)


def _show(gates: list[Gate], as_json: bool) -> None:
    from dataclasses import asdict

    from edgedl.cli.output import print_json
    from edgedl.report.table import printable

    if as_json:
        failed = any(gate.state == "failed" for gate in gates)
        return print_json({"passed": not failed, "gates": [asdict(gate) for gate in gates]})
    for gate in gates:
        state = gate.state.upper() if gate.state == "failed" else gate.state
        click.echo(printable(f"{state:8}{gate.subject}: {gate.name}: {gate.sentence}"))
    return None

"""`edgedl benchmark`: latency and memory of model files and of the original, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedl.cli import options as shared

if TYPE_CHECKING:
    from edgedl.measure import BenchmarkRecord
    from edgedl.measure.energy.stated import StatedPower
    from edgedl.report.footprint import Stated

EXAMPLES = """\b
Examples:
  edgedl benchmark digits.onnx digits.w8a8.onnx digits.tflite
  edgedl benchmark zoo:digits digits.onnx --threads 1,2 -o record.json
  edgedl benchmark digits.tflite --runs 1000 --seconds 5 --json
  edgedl benchmark digits.onnx --profile --affinity 0 --option spinning=0
  edgedl benchmark digits.onnx digits.tflite --mode cold
  edgedl benchmark keywords.onnx --end-to-end
  edgedl benchmark digits.onnx --mode sustained --seconds 300 -o sustained.json
  edgedl benchmark digits.tflite --target qemu-aarch64:cortex-a76
  edgedl benchmark digits.tflite --target qemu-aarch64-system:cortex-a53,memory=64MB
  edgedl benchmark digits.w8a8.tflite --target mcu:arduino-nano-33-ble
  edgedl benchmark digits.onnx --target local:cpus=1,quota=25%,memory=64MB
  edgedl benchmark digits.onnx --target ssh://pi@raspberrypi.local
  edgedl benchmark digits.onnx --target @targets.toml -o fleet.json
  edgedl benchmark net.tflite --target predicted:raspberry-pi-4 --grid 350 --battery 3000mAh@3.7V --duty 10/s
"""


def _threads(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= 4096 for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of numbers of threads, such as 1 or 1,2")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _processors(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """Of `0,1`; whether they are there only the machine knows that the engines run on."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of processors, such as 0 or 0,1")
    return tuple(dict.fromkeys(int(part[:9]) for part in parts))


def _options(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    if wrong := [text for text in texts if "=" not in text]:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=VALUE, such as spinning=0")
    return dict(text.split("=", 1) for text in texts)


MODES = ("latency", "throughput", "cold", "sustained")


@click.command(name="benchmark", epilog=EXAMPLES)
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="Engine, auto, or all installed ones; repeatable.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or tensorrt.")
@click.option("--threads", default="1", show_default=True, callback=_threads, help="Numbers of threads, such as 1,2.")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="latency",
    show_default=True,
    help="throughput: --streams processes at once. cold: new process, file out of the page cache. sustained: minutes.",
)
@click.option(
    "--streams", type=click.IntRange(1, 1024), help="Processes at once, in the mode throughput.  [default: cores]"
)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True, help="Runs of each, at the least.")
@click.option("--seconds", type=click.FloatRange(0, 1e6), help="Time for each, likewise.  [default: 2; sustained: 120]")
@click.option(
    "--rounds", type=click.IntRange(6), help="Interleaved bursts of each.  [default: 20; cold: 10; sustained: 60]"
)
@click.option(
    "--affinity", default="", callback=_processors, metavar="0,1", help="Processors that the engines may use."
)
@click.option(
    "--option",
    "engine_options",
    multiple=True,
    callback=_options,
    metavar="NAME=VALUE",
    help="Option of the engine, as spinning=0 or kernels=builtin; repeatable.",
)
@click.option("--profile", is_flag=True, help="Afterwards, what each operator takes, and what bounds the model.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 1e6),
    default=600.0,
    show_default=True,
    help="Seconds that loading or one burst may take before the engine counts as hung.",
)
@click.option(
    "--end-to-end",
    is_flag=True,
    help="Also time the task's own pre- and post-processing, on real raw inputs, on this machine.",
)
@click.option("--batch", type=click.IntRange(1), help="Length of the batch axis, where the model leaves it open.")
@shared.target
@shared.weights
@shared.shapes
@shared.unproven
@click.option("--input", "inputs", multiple=True, help="Seeded input of a shape and dtype, as x=1x3x64x64:float32.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the record, with all samples, to this file."
)
@shared.footprint
@shared.force
@shared.as_json
def command(artifacts: tuple[str, ...], output: Path | None, force: bool, as_json: bool, **options: Any) -> None:
    """Measure model files in their engines, and task references in PyTorch.

    Each one runs in a process of its own, in short bursts interleaved in random order. "Faster" is said only
    where the 95 % interval of the ratio excludes 1.
    """
    from edgedl.cli.fleet import refuse_failed_devices
    from edgedl.files import write_atomic
    from edgedl.measure.energy.stated import with_stated_power

    stated, power = _stated(options), _power(options["watts"])
    if output:
        _check_output(output, force)
    record = _measure(artifacts, options, output, force)
    record = with_stated_power(record, power) if power else record
    text = record.to_json()
    if output:
        write_atomic(output, text.encode())
    click.echo(text, nl=False) if as_json else _show(record, stated)
    _warn(record)
    _refuse_objections(record)
    if options["target"].startswith("@"):
        refuse_failed_devices(record)


def _refuse_objections(record: BenchmarkRecord) -> None:
    """Once the figures are told: a model that does not fit its target is a failed gate."""
    from edgedl.errors import GateFailed

    if objections := [subject.objection for subject in record.subjects if subject.objection]:
        raise GateFailed("; ".join(objections))


def _check_output(output: Path, force: bool) -> None:
    """Before the measurement, which takes minutes."""
    from edgedl.files import output_folder, refuse_existing

    if not force:
        refuse_existing(output)
    if output.parent.exists():
        output_folder(output.parent)


def _measure(artifacts: tuple[str, ...], options: dict[str, Any], output: Path | None, force: bool) -> BenchmarkRecord:
    from edgedl.cli.fleet import measure_fleet
    from edgedl.cli.output import progress_bar
    from edgedl.cli.planned import plan_of, subjects_of
    from edgedl.measure import InputChoice
    from edgedl.measure.journal import kept_in
    from edgedl.processing import end_to_end
    from edgedl.targets import WorkerTarget, find

    _check_end_to_end(options)
    if options["target"].startswith("@"):
        return measure_fleet(artifacts, options, output, force)
    target = find(options["target"])
    subjects, plan = subjects_of(artifacts, options), plan_of(options)
    whole = end_to_end(subjects) if options["end_to_end"] else None
    choice = (
        whole.feeds_of
        if whole
        else InputChoice(subjects, options["batch"], options["inputs"], options["shapes"], options["unproven"])
    )
    place = f"{target.name}, end to end" if whole else target.name
    with progress_bar("Measuring") as progress:
        if isinstance(target, WorkerTarget) and output:
            with kept_in(output.with_name(f"{output.name}.journal"), subjects, plan, force, place) as journal:
                record = target.measure(subjects, choice, plan, progress, journal)
        else:
            record = target.measure(subjects, choice, plan, progress)
    _refuse_if_all_failed(record)
    return whole.told(record) if whole else record


def _check_end_to_end(options: dict[str, Any]) -> None:
    elsewhere = (
        options["target"] != "local"
        or options["mode"] != "latency"
        or options["batch"]
        or options["inputs"]
        or options["shapes"]
    )
    if options["end_to_end"] and elsewhere:
        raise click.UsageError(
            "--end-to-end is for single inputs of the task's own, in the mode latency, on this machine"
        )


def _refuse_if_all_failed(record: BenchmarkRecord) -> None:
    """Raises the first failure as what it was: a missing device is no crash."""
    from edgedl.errors import EngineFailed, InvalidInput, Unavailable, Unreachable

    failure = record.subjects[0].failure
    if failure and not record.finished:
        kind = {"InvalidInput": InvalidInput, "Unavailable": Unavailable, "Unreachable": Unreachable}.get(
            failure.kind, EngineFailed
        )
        raise kind(f"{record.subjects[0].label}: {failure.message}")


def _stated(options: dict[str, Any]) -> Stated | None:
    """Before the measurement: what is wrong there should not cost it."""
    from edgedl.errors import InvalidInput
    from edgedl.measure.energy import parse_battery, parse_duty
    from edgedl.report.footprint import Stated

    grid, battery, duty = (options[name] for name in ("grid", "battery", "duty"))
    if (battery is None) != (duty is None):
        raise InvalidInput("--battery and --duty go together, as --battery 3000mAh@3.7V --duty 10/s")
    if grid is None and battery is None:
        return None
    return Stated(grid, battery and parse_battery(battery), duty and parse_duty(duty))


def _power(text: str | None) -> StatedPower | None:
    from edgedl.measure.energy.stated import parse_power

    return parse_power(text) if text is not None else None


def _show(record: BenchmarkRecord, stated: Stated | None) -> None:
    from edgedl.measure import remarks
    from edgedl.report.build import comparisons
    from edgedl.report.figures import basis_sentences, figure_sentences, figures_table
    from edgedl.report.footprint import footprint_sentences
    from edgedl.report.operators import operators
    from edgedl.report.table import benchmark_table, printable

    if any(subject.rounds or subject.failure for subject in record.subjects):
        click.echo(benchmark_table(record))
    if figures := figures_table(record):
        click.echo(figures)
    footprint = footprint_sentences(record, stated) if stated else ()
    told = (*comparisons(record), *figure_sentences(record), *basis_sentences(record), *footprint, *remarks(record))
    for sentence in told:
        click.echo(printable(sentence))
    for subject, summary in zip(record.subjects, record.summaries, strict=True):
        if table := operators(subject, summary.median_ns.value if summary else None):
            click.echo(f"\n{table}")


def _warn(record: BenchmarkRecord) -> None:
    from edgedl.measure import warnings
    from edgedl.report.table import printable

    for sentence in warnings(record):
        click.echo(f"Warning: {printable(sentence)}", err=True)

"""edgedl zoo"""

from __future__ import annotations

import click

from edgedl.cli import options, output


@click.group("zoo")
def command() -> None:
    """The reference tasks: small networks on real data, bundled or downloaded once.

    \b
    Examples:
      edgedl zoo list
      edgedl train zoo:digits -o out
      edgedl zoo report digits medical -o out
    """


@command.command("list")
@options.as_json
def list_tasks(as_json: bool) -> None:
    """List the tasks: name, what it is, licence of its data."""
    from edgedl import zoo

    tasks = [zoo.task(name) for name in zoo.names()]
    if as_json:
        output.print_json([{"name": t.name, "description": t.description, "licence": t.licence} for t in tasks])
        return
    for task in tasks:
        click.echo(f"zoo:{task.name:20} {task.description}  [data: {task.licence}]")


@command.command("report")
@click.argument("names", nargs=-1)
@click.option(
    "-o", "--out", required=True, metavar="DIR", help="Folder of the runs; an interrupted report goes on there."
)
@click.option(
    "--scheme", "schemes", multiple=True, metavar="SCHEME", help="Besides fp32; repeatable.  [default: w8a8, w8]"
)
@click.option(
    "--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="Measuring time of each artifact."
)
@options.data
@options.as_json
def report(names: tuple[str, ...], out: str, schemes: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Train, export, quantize, prove and measure all tasks, or NAMES; write DIR/zoo.html, zoo.md and zoo.json.

    What is finished is not done again. A task that fails is told on the page, the others go on, and the exit code is 1.

    \b
    Examples:
      edgedl zoo report -o out
      edgedl zoo report digits medical --seconds 0.2 -o out
      edgedl zoo report --data ~/data --scheme w8 -o out
    """
    from dataclasses import asdict
    from pathlib import Path

    from edgedl.errors import GateFailed
    from edgedl.zoo_report import SCHEMES, zoo_report

    with output.working(), output.progress_bar("edgedl zoo report") as progress:
        entries = zoo_report(
            names, out, schemes=schemes or SCHEMES, seconds=seconds, said=output.note, progress=progress
        )
    if as_json:
        output.print_json([asdict(entry) for entry in entries])
    else:
        for entry in entries:
            click.echo((entry.failure and f"{entry.task}: FAILED: {entry.failure}") or entry.training)
        click.echo(f"Report: {Path(out) / 'zoo.html'}")
    if failed := [entry.task for entry in entries if entry.failure]:
        raise GateFailed(f"{len(failed)} of {len(entries)} tasks failed: {', '.join(failed)}")

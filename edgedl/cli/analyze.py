"""edgedl analyze"""

from __future__ import annotations

from dataclasses import asdict

import click

from edgedl.cli import options, output
from edgedl.errors import GateFailed
from edgedl.reference import TaskReference


@click.command("analyze")
@options.task
@options.formats
@click.option("--streaming", is_flag=True, help="Look at one step of a recurrent network.")
@options.as_json
def command(task: TaskReference, formats: tuple[str, ...], streaming: bool, as_json: bool) -> None:
    """Tell in seconds what stands in the way of an export: operators, control flow, dynamic axes, each with its line.

    Exit code 1 if something does. Nothing is written.

    \b
    Examples:
      edgedl analyze net.py:Net --input x=1x3x64x64 --dynamic x:0=batch --to onnx --to tflite
      edgedl analyze zoo:digits --to tflite --json
    """
    from edgedl.analysis import analyze

    with output.working():
        obstacles = analyze(task, formats or ("onnx",), streaming=streaming)
    if as_json:
        output.print_json([asdict(obstacle) for obstacle in obstacles])
    for obstacle in obstacles if not as_json else ():
        click.echo(obstacle)
    if obstacles:
        raise GateFailed(f"in the way of {task.text}: {len(obstacles)} of them")
    if not as_json:
        click.echo(f"{task.text}: nothing is known that stands in the way of {' and '.join(formats or ('onnx',))}")

"""edgedl compare"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgedl.cli import options, output
from edgedl.errors import InvalidInput
from edgedl.reference import TaskReference

if TYPE_CHECKING:
    from edgedl.comparison import Comparison

SUFFIXES = (".html", ".svg", ".json")


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--task", metavar="TASK", help="The original, where no manifest leads to it.")
@options.weights
@options.ignore_extra
@options.inputs
@options.dynamic
@options.shapes
@options.data
@click.option("--calibration", metavar="SRC", help="Inputs to run on: .npz, .npy, a folder of them, or a task.")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="Tensors shown, worst first.")
@click.option("-o", "--output", "drawn", metavar="FILE", help="Write all tensors to this .html, .svg or .json.")
@options.force
@options.as_json
def command(
    a: str, b: str, task: str | None, weights: str | None, ignore_extra: bool, inputs: tuple[str, ...],
    dynamic: tuple[str, ...], shapes: tuple[str, ...],
    calibration: str | None, top: int, drawn: str | None, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hold every tensor of model B against that of model A: signal to noise, cosine, the source line; the worst first.

    A and B are model files, or one of them is the original: `torch` for what the manifest leads to, or a task.

    \b
    Examples:
      edgedl compare out/digits.onnx out/digits.w8a8.onnx
      edgedl compare torch out/digits.w8a8.tflite -o layers.html
      edgedl compare torch out/digits.w8a8.onnx -o out/digits.layers.json      which edgedl report out shows
      edgedl compare net.py:task model.onnx --weights net.safetensors --json
    """
    from edgedl.comparing import compare
    from edgedl.files import write_atomic
    from edgedl.report.layers import render
    from edgedl.runtime import is_reference

    if drawn:
        _check(Path(drawn), force)
    sides = [TaskReference(s, weights, inputs, dynamic, shapes, ignore_extra) if is_reference(s) else s for s in (a, b)]
    original = TaskReference(task, weights, inputs, dynamic, shapes, ignore_extra) if task else None
    with output.working():
        named = original or any(isinstance(side, TaskReference) for side in sides)
        found = compare(*sides, task=original, calibration=calibration, shapes=() if named else shapes)
    if drawn:
        text = found.to_json() if drawn.endswith(".json") else render(found, Path(drawn).suffix)
        write_atomic(Path(drawn), text.encode())
    if as_json:
        click.echo(found.to_json(), nl=False)
        return
    _show(found, top, drawn)


def _check(path: Path, force: bool) -> None:
    from edgedl.files import refuse_existing

    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"-o {path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not force:
        refuse_existing(path)


def _show(found: Comparison, top: int, drawn: str | None) -> None:
    from edgedl.report.layers import columns, headline
    from edgedl.report.table import printable, render

    click.echo(printable(headline(found)))
    if found.layers:
        click.echo("\n" + render(columns(), found.worst_first[:top]))
    if len(found.layers) > top:
        click.echo(f"... and {len(found.layers) - top} more (--top)")
    if found.unmatched:
        click.echo(
            f"{len(found.unmatched)} tensors of {found.a} have no certain counterpart and are not ranked (fused, or rewritten)"
        )
    if found.without_lines:
        click.echo(f"no source lines: {found.without_lines}", err=True)
    if drawn:
        click.echo(f"Wrote {drawn}")

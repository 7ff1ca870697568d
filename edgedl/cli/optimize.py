"""edgedl optimize"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgedl.cli import options, output


@click.command("optimize")
@click.argument("task", required=False)
@click.option("--recipe", "recipe_file", metavar="FILE", help="Repeat the run that a recipe.toml describes.")
@options.weights
@options.inputs
@options.dynamic
@options.data
@click.option("--to", "formats", multiple=True, metavar="FORMAT", help="onnx or tflite; repeatable.  [default: both]")
@click.option("--scheme", "schemes", multiple=True, metavar="SCHEME", help="Besides fp32; repeatable.  [default: w8a8]")
@click.option("--calibration", metavar="SRC", help="Inputs for the ranges: .npz, .npy, a folder of them, or a task.")
@click.option("--channels-last", is_flag=True, help="Inputs of rank 4 are NHWC in the files.")
@options.max_drop
@options.allow_constant
@click.option("--seed", type=int, help="Of training and of the order of measurement.  [default: 0]")
@click.option("--threads", type=int, help="Threads of the engines.  [default: 1]")
@click.option("--seconds", type=float, help="Measuring time of each artifact.  [default: 2]")
@click.option("--allow-slower", is_flag=True, help="Take files that are slower than float, or not smaller.")
@click.option("-o", "--out", required=True, metavar="DIR", help="Folder of the run; an interrupted run goes on there.")
@options.force
@options.as_json
def command(task: str | None, recipe_file: str | None, out: str, force: bool, as_json: bool, **given: Any) -> None:
    """Do it all for TASK: train it if it has no weights, export, quantize, prove, measure, report, and say what to ship.

    \b
    Examples:
      edgedl optimize zoo:digits -o quickstart
      edgedl optimize net.py:task --weights net.safetensors --scheme w8a8 --scheme fp16 -o out
      edgedl optimize --recipe quickstart/recipe.toml -o again
    """
    from edgedl.errors import InvalidInput
    from edgedl.optimizing import optimize
    from edgedl.recipe import Recipe
    from edgedl.report import report_table

    if bool(task) == bool(recipe_file):
        raise InvalidInput("expected either TASK or --recipe FILE, as in: edgedl optimize zoo:digits -o out")
    base = Recipe.from_toml(_text(recipe_file), recipe_file) if recipe_file else Recipe(task or "")
    recipe = replace(base, **{key: value for key, value in given.items() if value not in (None, (), False)})
    with output.progress_bar("edgedl optimize") as progress:
        result = optimize(recipe, out, force=force, said=output.note, progress=progress)
    for name, why in result.refused.items():
        click.echo(f"refused: {name}: {why}", err=True)
    choice = result.report.choice
    if as_json:
        chosen = choice.row.name if choice.row else None
        artifacts = [output.artifact_json(artifact) for artifact in result.artifacts]
        output.print_json(
            {"ship": chosen, "verdict": choice.sentence, "artifacts": artifacts, "refused": result.refused}
        )
        return
    click.echo(report_table(result.report.rows))
    for artifact in result.artifacts:
        for line in output.in_float(artifact):
            click.echo(f"{artifact.path.name}{line}")
    click.echo(f"\n{choice.sentence}\nReport: {result.folder / 'report.html'}")


def _text(path: str) -> str:
    from edgedl.errors import InvalidInput

    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the recipe {path}: {error}") from error

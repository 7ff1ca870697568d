"""edgedl train"""

from __future__ import annotations

import click

from edgedl.cli import options, output
from edgedl.reference import TaskReference


@click.command("train")
@options.task
@options.out
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same weights on one machine.")
@options.force
@options.as_json
def command(task: TaskReference, out: str, seed: int, force: bool, as_json: bool) -> None:
    """Train TASK by its own `fit` and write DIR/NAME.safetensors.

    \b
    Examples:
      edgedl train zoo:digits -o out
      edgedl train net.py:task --seed 1
      edgedl train zoo:names_rnn --data ~/data -o out
    """
    from edgedl.training import train

    with output.working(), output.progress_bar(f"train {task.text}") as progress:
        path, score = train(task, out, seed=seed, force=force, progress=progress)
    if as_json:
        output.print_json(
            {"path": str(path), "score": score and {"name": score.name, "value": score.value}, "seed": seed}
        )
        return
    click.echo(
        f"{path}  {output.size(path.stat().st_size)}"
        + (f"  {score.name} {score.value:.4g} on held-out data" if score else "")
    )

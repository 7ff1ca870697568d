"""edgedl train"""

from __future__ import annotations

import click

from edgedl.cli import options, output
from edgedl.reference import TaskReference
from edgedl.sizes import size

DEVICES, PRECISIONS, STRATEGIES = ("auto", "cpu", "cuda"), ("32", "16-mixed", "bf16-mixed"), ("auto", "ddp")


@click.command("train")
@options.task
@options.out
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same weights on one machine.")
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="auto: a GPU if there is one."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="32", show_default=True, help="The weights stay float32."
)
@click.option(
    "--devices", type=click.IntRange(1), default=1, show_default=True, help="How many; a batch is divided among them."
)
@click.option(
    "--strategy", type=click.Choice(STRATEGIES), default="auto", show_default=True, help="How several work together."
)
@click.option(
    "--checkpoint-every", type=click.FloatRange(0), default=5.0, show_default=True, metavar="SECONDS",
    help="An interrupted training goes on from its last checkpoint when the same command is given again.",
)  # fmt: skip
@click.option(
    "--grid",
    type=click.FloatRange(0),
    metavar="G",
    help="Grams of CO2 per kWh of your electricity, for the result page.",
)
@options.force
@options.as_json
def command(
    task: TaskReference, out: str, seed: int, device: str, precision: str, devices: int, strategy: str,
    checkpoint_every: float, grid: float | None, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train TASK by its own `fit` and write DIR/NAME.safetensors, and DIR/NAME.training.html, .md and .json.

    \b
    Examples:
      edgedl train zoo:digits -o out
      edgedl train net.py:task --seed 1
      edgedl train zoo:names_rnn --data ~/data -o out
      edgedl train net.py:task --device cuda --precision bf16-mixed --devices 4 --strategy ddp
    """
    from edgedl.engine import Engine, is_helper
    from edgedl.report.training import sentence
    from edgedl.training import train
    from edgedl.training_record import TrainingRecord

    engine = Engine(device, precision, devices, strategy)
    with output.working(), output.progress_bar(f"train {task.text}") as progress:
        path, score = train(
            task, out, seed=seed, force=force, progress=progress, engine=engine, checkpoint_every=checkpoint_every,
            grid=grid,
        )  # fmt: skip
    if is_helper():
        return
    record = TrainingRecord.open(path.with_suffix(".training.json"))
    if as_json:
        told = score and {"name": score.name, "value": score.value}
        output.print_json(
            {
                "path": str(path), "score": told, "seed": seed, "device": record.device, "seconds": record.seconds,
                "steps": record.steps, "resumed": record.resumed, "result": str(path.with_suffix(".training.html")),
            }
        )  # fmt: skip
        return
    click.echo(f"{path}  {size(path.stat().st_size)}")
    click.echo(f"{sentence(record)}; {path.with_suffix('.training.html')}")

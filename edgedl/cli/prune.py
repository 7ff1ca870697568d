"""edgedl prune"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedl.cli import options, output
from edgedl.reference import TaskReference

if TYPE_CHECKING:
    from edgedl.pruning.outcome import Pruned
    from edgedl.pruning.search import Target


@click.command("prune")
@options.task
@click.option(
    "--macs", type=float, metavar="SHARE", help="Multiply-accumulates that are left, as 0.5 of the original's."
)
@click.option("--params", type=float, metavar="SHARE", help="Parameters that are left, as 0.4 of the original's.")
@click.option("--size", metavar="BYTES", help="Bytes of the exported file, as 200kB.")
@click.option("--latency", type=float, metavar="SHARE", help="Measured time that is left, as 0.6 of the original's.")
@click.option(
    "--method", default="structured", show_default=True, metavar="METHOD",
    help="structured (smaller layers), unstructured (zeros, with --sparsity), or N:M as 2:4 (N of every M weights kept).",
)  # fmt: skip
@click.option("--sparsity", type=float, metavar="SHARE", help="Zeros of --method unstructured, as 0.8 of the weights.")
@click.option(
    "--importance", default="magnitude", show_default=True, metavar="KIND",
    help="What ranks the channels: magnitude, taylor, bn (scales of batch norms) or activation.",
)  # fmt: skip
@click.option(
    "--scope", default="global", show_default=True, metavar="SCOPE",
    help="global ranks across all layers by what they cost and lose; layer takes the same share of each.",
)  # fmt: skip
@click.option(
    "--align", "alignment", type=int, metavar="N",
    help="Channel counts are multiples of N.  [default: what pays in the engine, measured once on a machine]",
)  # fmt: skip
@click.option("--steps", default=1, show_default=True, metavar="N", help="Cut and recover in so many steps.")
@click.option("--rounds", default=3, show_default=True, metavar="N", help="Trainings after the last cut, at most.")
@click.option("--no-teacher", is_flag=True, help="Recover without the original as a teacher.")
@click.option(
    "--max-drop", default="0.5%", show_default=True, metavar="DROP", callback=lambda ctx, option, text: options.fraction(text),
    help="Largest loss of the task's score; recovery stops as soon as it is met.",
)  # fmt: skip
@click.option("--to", "format", default="onnx", show_default=True, metavar="FORMAT", help="onnx or tflite.")
@click.option("--seed", default=0, show_default=True, help="Of the trainings.")
@click.option("--threads", default=1, show_default=True, help="Of the engine.")
@click.option("--seconds", default=2.0, show_default=True, help="Measuring time of each file.")
@click.option("--allow-slower", is_flag=True, help="Deliver a result that is slower than the original.")
@options.out
@options.force
@options.as_json
def command(
    task: TaskReference, macs: float | None, params: float | None, size: str | None, latency: float | None, no_teacher: bool,
    format: str, out: str, force: bool, allow_slower: bool, as_json: bool, **rest: Any,
) -> None:  # fmt: skip
    """Make the layers of TASK smaller, train it back to its score, and prove that the exported file is no slower.

    DIR gets plan.json, weights.safetensors, the artifact, and a page; DIR is what --weights of every verb takes then.
    Channels, attention heads and hidden units of RNN, LSTM and GRU go together with all that reads them.

    \b
    Examples:
      edgedl prune zoo:digits --macs 0.5 -o pruned
      edgedl export zoo:digits --weights pruned --to tflite -o pruned
      edgedl prune net.py:task --weights net.safetensors --latency 0.6 --importance taylor -o pruned
      edgedl prune net.py:task --weights net.safetensors --method unstructured --sparsity 0.8 -o sparse
    """
    from edgedl.pruning.outcome import Options
    from edgedl.pruning.run import prune

    asked = Options(target=_target(macs, params, size, latency), teacher=not no_teacher, **rest)
    with output.working(), output.progress_bar(f"prune {task.text}") as progress:
        found = prune(
            task, out, asked, format, force=force, allow_slower=allow_slower, said=output.note, progress=progress
        )
    if as_json:
        output.print_json({**asdict(found), "artifact": output.artifact_json(found.artifact)})
        return
    _show(found, Path(out))


def _target(macs: float | None, params: float | None, size: str | None, latency: float | None) -> Target | None:
    from edgedl.errors import InvalidInput
    from edgedl.pruning.search import Target

    shares = [("macs", macs), ("params", params), ("latency", latency)]
    given = [Target(kind, value) for kind, value in shares if value is not None]
    given += [Target.size(size)] if size is not None else []
    if len(given) > 1:
        raise InvalidInput(f"--{given[0].kind} and --{given[1].kind}: one target at a time")
    return given[0] if given else None


def _show(found: Pruned, folder: Path) -> None:
    from edgedl.report.pruning import comparison_columns, comparisons, headline, layer_columns
    from edgedl.report.table import printable, render

    click.echo(printable(headline(found)))
    click.echo("\n" + render(comparison_columns(), comparisons(found)))
    if found.layers:
        click.echo("\n" + render(layer_columns(), found.rows()))
    for name, why in found.locked.items():
        click.echo(printable(f"left whole: {name}: {why}"))
    for note in found.notes:
        click.echo(printable(f"note: {note}"), err=True)
    click.echo(f"\n{output.proven_line(found.artifact)}\nPage: {folder / 'pruning.html'}")

"""edgedl verify"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgedl.cli import options, output
from edgedl.reference import TaskReference

if TYPE_CHECKING:
    from edgedl.measure import HostParity


@click.command("verify")
@click.argument("artifact")
@click.option("--task", metavar="TASK", help="The original, where the manifest does not lead to it.")
@options.weights
@options.ignore_extra
@options.inputs
@options.dynamic
@options.shapes
@click.option("--runtime", default="auto", show_default=True, help="ort, litert or auto.")
@options.target
@options.max_drop
@options.allow_constant
@options.as_json
def command(
    artifact: str, task: str | None, weights: str | None, ignore_extra: bool, inputs: tuple[str, ...],
    dynamic: tuple[str, ...], shapes: tuple[str, ...],
    runtime: str, target: str, max_drop: float | None, allow_constant: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hold a model file against the original again: shapes, dtypes, errors, score. Exit code 1 if it does not agree.

    \b
    Examples:
      edgedl verify out/digits.w8a8.onnx
      edgedl verify model.onnx --task net.py:task --max-drop 0.5%
      edgedl verify out/digits.w8a8.tflite --target qemu-aarch64:cortex-a53
    """
    from edgedl.verifying import verify

    reference = TaskReference(task, weights, inputs, dynamic, shapes, ignore_extra) if task else None
    with output.working():
        evidence = verify(
            artifact, reference, runtime, max_drop, target, () if task else shapes, allow_constant=allow_constant
        )
        host = None if target == "local" else _held(artifact, runtime, target)
    if as_json:
        output.print_json({**evidence.to_dict(), **({"host": asdict(host)} if host else {})})
        return
    same = f", {evidence.match.equal:.1%} of {evidence.match.sequences} sequences the same" if evidence.match else ""
    score = (
        f", {evidence.score.name} {evidence.score.value:.4g} (drop {evidence.score.drop:.2g})" if evidence.score else ""
    )
    where = "" if target == "local" else f" on {target}"
    click.echo(
        f"{artifact} in {evidence.engine}{where} agrees with {evidence.reference}: {output.error_told(evidence.to_dict())} "
        f"on {output.inputs_told(evidence.inputs)}{same}{score}"
    )
    for sentence in evidence.notes:
        click.echo(f"  {sentence}")
    if host:
        from edgedl.report.figures import parity_told

        click.echo(f"{artifact} on {target}: {parity_told(host)}")


def _held(artifact: str, runtime: str, target: str) -> HostParity:
    from edgedl.artifact import Artifact
    from edgedl.targets import find, hold

    return hold(find(target), Artifact.open(artifact), runtime)

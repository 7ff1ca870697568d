"""edgedl inspect"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgedl.cli import options, output

if TYPE_CHECKING:
    from edgedl.artifact import Artifact
    from edgedl.exporter import Description


@click.command("inspect")
@click.argument("artifact")
@options.as_json
def command(artifact: str, as_json: bool) -> None:
    """Show what is in a model file, and what was proven of it.

    \b
    Examples:
      edgedl inspect out/digits.onnx
      edgedl inspect model.tflite --json
    """
    from edgedl import registry
    from edgedl.artifact import Artifact

    opened = Artifact.open(artifact)
    description = registry.exporter(opened.format).describe(opened.path)
    if as_json:
        output.print_json({**output.artifact_json(opened), "description": asdict(description)})
        return
    click.echo("\n".join(_lines(opened, description)))


def _lines(artifact: Artifact, description: Description) -> list[str]:
    operators = sorted(description.operators.items(), key=lambda item: (-item[1], item[0]))
    stored = sorted(description.bytes_by_dtype.items(), key=lambda item: -item[1])
    macs = "unknown" if description.macs is None else f"{description.macs:,} (at the written shapes, dynamic axes as 1)"
    return [
        f"{artifact.path}  {output.size(artifact.path.stat().st_size)}  {artifact.format}" + _opset(description),
        *(f"input       {spec}" for spec in description.inputs),
        *(f"output      {spec}" for spec in description.outputs),
        f"parameters  {description.parameters:,}",
        f"MACs        {macs}",
        "constants   " + ", ".join(f"{dtype} {output.size(count)}" for dtype, count in stored),
        f"operators   {sum(description.operators.values())}: "
        + ", ".join(f"{name} {count}" for name, count in operators),
        _evidence(artifact),
    ]


def _opset(description: Description) -> str:
    return f" opset {description.opset}" if description.opset else ""


def _evidence(artifact: Artifact) -> str:
    if not artifact.manifest:
        return "manifest    none: nothing is proven of this file"
    return (
        f"scheme      {artifact.manifest.scheme}\nevidence    {output.proven_line(artifact).partition('  proven: ')[2]}"
    )

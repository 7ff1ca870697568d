"""edgedl inspect"""

from __future__ import annotations

from collections.abc import Iterator
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
    from edgedl.ledger import left_wide

    opened = Artifact.open(artifact)
    description = registry.exporter(opened.format).describe(opened.path)
    if as_json:
        described = {**asdict(description), "left_wide": left_wide(description)}
        output.print_json({**output.artifact_json(opened), "description": described})
        return
    click.echo("\n".join(_lines(opened, description)))


def _lines(artifact: Artifact, description: Description) -> list[str]:
    operators = sorted(description.operators.items(), key=lambda item: (-item[1], item[0]))
    macs = "unknown" if description.macs is None else f"{description.macs:,} (at the written shapes, dynamic axes as 1)"
    return [
        f"{artifact.path}  {output.size(artifact.path.stat().st_size)}  {artifact.format}" + _opset(description),
        *(f"input       {spec}" for spec in description.inputs),
        *(f"output      {spec}" for spec in description.outputs),
        f"parameters  {description.parameters:,}",
        f"MACs        {macs}",
        *_bytes(artifact, description),
        f"operators   {sum(description.operators.values())}: "
        + ", ".join(f"{name} {count}" for name, count in operators),
        _evidence(artifact),
    ]


def _bytes(artifact: Artifact, description: Description) -> Iterator[str]:
    """What the file holds by dtype, then by the operators that read it."""
    from edgedl.ledger import left_wide

    stored = sorted(description.bytes_by_dtype.items(), key=lambda item: -item[1])
    rest = artifact.path.stat().st_size - sum(description.bytes_by_dtype.values())
    graph = f"the graph {output.size(max(rest, 0))}"
    yield "bytes       " + ", ".join([*(f"{dtype} {output.size(count)}" for dtype, count in stored), graph])
    for name in dict.fromkeys(line.operator for line in description.ledger):
        lines = [line for line in description.ledger if line.operator == name]
        yield f"  {name:20}" + ", ".join(f"{line.dtype} {output.size(line.count)}" for line in lines)
    if sentence := left_wide(description):
        yield f"left wide   {sentence}"


def _opset(description: Description) -> str:
    return f" opset {description.opset}" if description.opset else ""


def _evidence(artifact: Artifact) -> str:
    if not artifact.manifest:
        return "manifest    none: nothing is proven of this file"
    return (
        f"scheme      {artifact.manifest.scheme}\nevidence    {output.proven_line(artifact).partition('  proven: ')[2]}"
    )

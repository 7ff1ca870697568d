"""edgedl inspect"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgedl.cli import options, output, saturating
from edgedl.sizes import size

if TYPE_CHECKING:
    from edgedl.artifact import Artifact
    from edgedl.exporter import Description, Layer
    from edgedl.saturation import Saturation


@click.command("inspect")
@click.argument("artifact")
@click.option("--layers", "by_layer", is_flag=True, help="List the layers that can be quantized each by itself.")
@click.option(
    "--calibration", metavar="SRC", help="Inputs on which int8 sums are looked at: .npz, .npy, a folder, a task."
)
@options.as_json
def command(artifact: str, by_layer: bool, calibration: str | None, as_json: bool) -> None:
    """Show what is in a model file or an artifact group, and what was proven of it.

    \b
    Examples:
      edgedl inspect out/digits.onnx
      edgedl inspect model.tflite --json
      edgedl inspect model.onnx --layers
      edgedl inspect model.int8.onnx --calibration rows.npz
      edgedl inspect out/translation.onnx.group
    """
    from edgedl import registry
    from edgedl.artifact import Artifact
    from edgedl.ledger import left_wide

    opened = Artifact.open(artifact)
    if opened.group and not by_layer:
        output.print_json(output.artifact_json(opened)) if as_json else click.echo("\n".join(_group_lines(opened)))
        return
    if by_layer:
        layers = registry.exporter(opened.format).layers(opened.model_file)
        output.print_json([asdict(layer) for layer in layers]) if as_json else click.echo(
            "\n".join(_layer_lines(layers))
        )
        return
    description = registry.exporter(opened.format).describe(opened.path)
    found = _saturation(opened, description, calibration)
    if as_json:
        described = {**asdict(description), "left_wide": left_wide(description)}
        described["saturation"] = found.to_dict() if found else None
        output.print_json({**output.artifact_json(opened), "description": described})
        return
    click.echo("\n".join([*_lines(opened, description), *_saturating(opened, found)]))


def _saturation(artifact: Artifact, description: Description, calibration: str | None) -> Saturation | None:
    """On the inputs given, else as the manifest has it, else by the bound alone; None where no product is of integers."""
    from edgedl import calibration as sources
    from edgedl import registry

    if not calibration and (told := saturating.recorded(artifact)):
        return told
    runs = None
    if calibration:
        source = sources.from_source(calibration, description.inputs)
        runs = sources.prepared(source, description.inputs, sources.SAMPLES)
    found = registry.exporter(artifact.format).saturation(artifact.path, runs)
    return found if found.layers else None


def _saturating(artifact: Artifact, found: Saturation | None) -> Iterator[str]:
    if found:
        yield saturating.headline(found, saturating.can_be_narrowed(artifact))
        yield from saturating.table(found)


def _layer_lines(layers: tuple[Layer, ...]) -> list[str]:
    """A line for each layer; its name last, because converters make long ones."""
    costs = [(f"{layer.parameters:,}", "?" if layer.macs is None else f"{layer.macs:,}") for layer in layers]
    return [f"{'operator':18} {'parameters':>12} {'MACs':>14}  name"] + [
        f"{layer.operator:18} {parameters:>12} {macs:>14}  {layer.name}"
        for layer, (parameters, macs) in zip(layers, costs, strict=True)
    ]


def _group_lines(artifact: Artifact) -> list[str]:
    assert artifact.manifest and artifact.group
    group, loop, members = artifact.group, artifact.group.loop, artifact.members()
    return [
        f"{artifact.path}  {size(artifact.size)}  {artifact.format}, {loop.kind} of {len(members)} files",
        *(f"input       {spec}" for spec in artifact.manifest.inputs),
        *(f"output      {spec}" for spec in artifact.manifest.outputs),
        *(f"{name:12}{member.path.name}  {size(member.size)}" for name, member in members.items()),
        f"loop        begin {loop.begin}, end {loop.end}, at most {loop.length} tokens, beam {loop.beam}",
        f"token       {loop.token} in, chosen by {loop.logits}",
        *(f"feeds       {name} from {source}" for name, source in loop.feeds.items()),
        *(f"state       {state.output} to {state.input}" for state in loop.states),
        *(f"zeros       {name} [{', '.join(map(str, shape))}]" for name, shape in loop.zeros.items()),
        *(f"vocabulary  {name}: {len(words):,} words" for name, words in group.vocabularies.items()),
        _evidence(artifact),
    ]


def _lines(artifact: Artifact, description: Description) -> list[str]:
    operators = sorted(description.operators.items(), key=lambda item: (-item[1], item[0]))
    macs = "unknown" if description.macs is None else f"{description.macs:,} (at the written shapes, dynamic axes as 1)"
    return [
        f"{artifact.path}  {size(artifact.path.stat().st_size)}  {artifact.format}" + _opset(description),
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
    graph = f"the graph {size(max(rest, 0))}"
    yield "bytes       " + ", ".join([*(f"{dtype} {size(count)}" for dtype, count in stored), graph])
    for name in dict.fromkeys(line.operator for line in description.ledger):
        lines = [line for line in description.ledger if line.operator == name]
        yield f"  {name:20}" + ", ".join(f"{line.dtype} {size(line.count)}" for line in lines)
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

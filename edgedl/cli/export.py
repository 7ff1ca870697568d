"""edgedl export"""

from __future__ import annotations

from typing import Any

import click

from edgedl.cli import options, output
from edgedl.reference import TaskReference


@click.command("export")
@options.task
@options.formats
@options.out
@click.option("--channels-last", is_flag=True, help="Inputs of rank 4 are NHWC in the file.")
@click.option("--streaming", is_flag=True, help="One step of a recurrent network, its states as inputs and outputs.")
@options.max_drop
@options.allow_constant
@options.force
@options.as_json
def command(task: TaskReference, formats: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Write TASK as ONNX, TFLite or ncnn; each file is loaded in a clean process and held against the original.

    TASK is net.py:NAME, package.module:NAME, zoo:NAME, timm:NAME or a .pt2 file, where NAME is an edgedl.Task,
    an nn.Module, or a callable that returns one.

    \b
    Examples:
      edgedl export zoo:digits --weights digits.safetensors --to onnx --to tflite -o out
      edgedl export net.py:Net --input x=1x3x64x64:float32 --dynamic x:0=batch
      edgedl export speech.py:task --streaming --dynamic x:1=time -o out
      edgedl export timm:mobilenetv2_050 --input x=1x3x96x96:float32 --to tflite
    """
    from edgedl.exporting import export

    with output.working():
        artifacts = export(task, formats or ("onnx",), said=output.note, **given)
    if as_json:
        output.print_json([output.artifact_json(artifact) for artifact in artifacts])
        return
    for artifact in artifacts:
        click.echo(output.proven_line(artifact))
        for sentence in output.notes(artifact):
            click.echo(f"  {sentence}")

"""edgedl quantize"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgedl.artifact import Artifact, is_model
from edgedl.cli import options, output
from edgedl.cli.scheme_options import carried_out
from edgedl.errors import InvalidInput
from edgedl.exporter import QuantizationOptions
from edgedl.reference import TaskReference
from edgedl.schemes import SCHEMES

_SCHEMES = "\n".join(f"  {s.name:13} {s.suits}" for s in SCHEMES.values() if s.name != "fp32")


@click.command("quantize", epilog="\b\nSchemes:\n" + _SCHEMES)
@options.task
@click.option("--scheme", required=True, metavar="SCHEME", help="How numbers are stored; see below.")
@click.option("--calibration", metavar="SRC", help="Inputs for the ranges: .npz, .npy, a folder of them, or a task.")
@click.option(
    "--samples", default=256, show_default=True, metavar="N", help="Rows of calibration inputs that are used."
)
@click.option("--random-calibration", is_flag=True, help="Take ranges from noise; the manifest says so.")
@click.option(
    "--task", "original", metavar="TASK", help="The original of a model file whose manifest does not lead to it."
)
@options.formats
@click.option("-o", "--out", metavar="DIR", help="Folder for the result.  [default: beside the source]")
@click.option("--allow-slower", is_flag=True, help="Take a scheme that is known not to pay for this model.")
@carried_out
@click.option("--qat", is_flag=True, help="Fine-tune the task with the rounding of int8, through its own fit.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of --qat.")
@options.max_drop
@options.force
@options.as_json
def command(
    task: TaskReference, formats: tuple[str, ...], out: str | None, as_json: bool, original: str | None, qat: bool,
    seed: int, **rest: Any,
) -> None:  # fmt: skip
    """Write a model in fewer bits. TASK is a float model file (.onnx, .tflite) or group, or a task, which is exported first.

    \b
    Examples:
      edgedl quantize out/digits.onnx --scheme w8a8
      edgedl quantize zoo:digits --weights digits.safetensors --scheme w8a8 --to onnx --to tflite -o out
      edgedl quantize model.onnx --scheme w8a8 --calibration photos.npz --samples 200
      edgedl quantize out/mobile.onnx --scheme w8a8 --equalize --bias-correction
      edgedl quantize zoo:digits --weights digits.safetensors --scheme w8a8 --qat --to onnx --to tflite -o out
    """
    from edgedl.quantizing import export_and_quantize, quantize

    with output.working():
        if qat:
            artifacts = _trained(task, formats or ("onnx",), out or ".", seed, **rest)
        elif is_model(Path(task.text)):
            reference = TaskReference(original, task.weights, task.inputs, task.dynamic) if original else None
            artifacts = [quantize(task.text, out=out, task=reference, **rest)]
        else:
            artifacts = export_and_quantize(task, to=formats or ("onnx",), out=out or ".", **rest)
    if as_json:
        output.print_json([output.artifact_json(artifact) for artifact in artifacts])
        return
    for artifact in artifacts:
        click.echo(output.proven_line(artifact))


def _trained(
    task: TaskReference, formats: tuple[str, ...], out: str, seed: int, *, scheme: str, max_drop: float | None, force: bool,
    options: QuantizationOptions, calibration: str | None, **_: Any,
) -> list[Artifact]:  # fmt: skip
    if is_model(Path(task.text)):
        raise InvalidInput(f"--qat trains, and {task.text} cannot be trained: give the task that it was exported from")
    if calibration or options.changed():
        name = "calibration" if calibration else options.changed()[0]
        raise InvalidInput(f"--qat learns ranges and weights: leave out --{name.replace('_', '-')}")
    from edgedl.qat.quantize import quantize_aware

    with output.progress_bar("fine-tune for int8") as progress:
        return quantize_aware(task, scheme, formats, out, seed=seed, force=force, max_drop=max_drop, progress=progress)

"""edgedl quantize"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from edgedl.artifact import Artifact, is_model
from edgedl.cli import options, output, saturating
from edgedl.cli.scheme_options import carried_out
from edgedl.errors import InvalidInput
from edgedl.exporter import QuantizationOptions
from edgedl.reference import TaskReference
from edgedl.schemes import SCHEMES

_SCHEMES = "\n".join(f"  {s.name:13} {s.suits}" for s in SCHEMES.values() if s.name != "fp32")


@click.command("quantize", epilog="\b\nSchemes:\n" + _SCHEMES)
@options.task
@click.option("--scheme", metavar="SCHEME", help="How numbers are stored; see below.  [with --auto: w8a8]")
@click.option("--auto", is_flag=True, help="Search for the cheapest way to carry the scheme out within --max-drop.")
@click.option("--time", "seconds", type=float, metavar="SECONDS", help="How long --auto searches.  [default: 120]")
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
@click.option("--allow-slower", is_flag=True, help="Take a result that is slower than float, or not smaller.")
@click.option(
    "--speed-check/--no-speed-check", default=True, help="Hold the result against the float file.  [default: yes]"
)
@click.option("--target", default="local", show_default=True, metavar="TARGET", help="Where the speed is checked.")
@carried_out
@click.option("--qat", is_flag=True, help="Fine-tune the task with the rounding of int8, through its own fit.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of --qat.")
@options.max_drop
@options.allow_constant
@options.force
@options.as_json
def command(
    task: TaskReference, formats: tuple[str, ...], out: str | None, as_json: bool, original: str | None, auto: bool,
    seconds: float | None, qat: bool, seed: int, **rest: Any,
) -> None:  # fmt: skip
    """Write a model in fewer bits. TASK is a float model file (.onnx, .tflite) or group, or a task, which is exported first.

    \b
    Examples:
      edgedl quantize out/digits.onnx --scheme w8a8
      edgedl quantize zoo:digits --weights digits.safetensors --scheme w8a8 --to onnx --to tflite -o out
      edgedl quantize model.onnx --scheme w8a8 --calibration photos.npz --samples 200
      edgedl quantize out/mobile.onnx --scheme w8a8 --equalize --bias-correction
      edgedl quantize zoo:digits --weights digits.safetensors --scheme w8a8 --qat --to onnx --to tflite -o out
      edgedl quantize out/net.tflite --auto --max-drop 0.5% --time 300
    """
    from edgedl.quantizing import export_and_quantize

    make = _how(auto, qat, seconds, rest)
    with output.working():
        if qat:
            artifacts = _trained(task, formats or ("onnx",), out or ".", seed, **rest)
        elif is_model(Path(task.text)):
            reference = replace(task, text=original, shapes=()) if original else None
            _check_task_options(task, original)
            artifacts = [make(task.text, out=out, task=reference, shapes=task.shapes, **rest)]
        else:
            artifacts = export_and_quantize(task, to=formats or ("onnx",), out=out or ".", make=make, **rest)
    if as_json:
        output.print_json([output.artifact_json(artifact) for artifact in artifacts])
        return
    for sentence in (sentence for artifact in artifacts for sentence in output.objections(artifact)):
        click.echo(sentence)
    for artifact in artifacts:
        click.echo(output.proven_line(artifact))
        told = (f"  {note}" for note in output.notes(artifact))
        for line in (*told, *output.in_float(artifact), *_kept(artifact), *_saturating(artifact)):
            click.echo(line)


def _check_task_options(task: TaskReference, original: str | None) -> None:
    """InvalidInput for an option of a task where a model file is all that there is."""
    given = [name for name in ("weights", "inputs", "dynamic") if getattr(task, name)]
    if given and not original:
        option = {"inputs": "input"}.get(given[0], given[0])
        raise InvalidInput(
            f"--{option} belongs to a task: give the original of {task.text} with --task, or --shape alone"
        )


def _how(auto: bool, qat: bool, seconds: float | None, given: dict[str, Any]) -> Callable[..., Artifact]:
    """What quantizes, and takes the options `given`."""
    from edgedl.quantizing import quantize
    from edgedl.tune.autopilot import SECONDS, autotune

    if not auto:
        if not given["scheme"] or seconds is not None:
            problem = "--time is for --auto" if given["scheme"] else "how is not told: add --scheme NAME, or --auto"
            raise InvalidInput(f"{problem} (see: edgedl quantize --help)")
        return quantize
    if given.pop("random_calibration") or qat:
        raise InvalidInput(
            f"--auto takes no {'--qat: it searches and trains nothing' if qat else '--random-calibration: its budget is on real inputs'}"
        )
    given["scheme"] = given["scheme"] or "w8a8"
    return functools.partial(autotune, seconds=SECONDS if seconds is None else seconds, told=output.note)


def _kept(artifact: Artifact) -> Iterator[str]:
    """What the search changed, and what stays in float and why."""
    told = artifact.manifest.provenance if artifact.manifest else {}
    if not (found := told.get("search")):
        return
    default = asdict(QuantizationOptions())
    changed = [
        f"{key}={value}"
        for key, value in told["options"].items()
        if key not in ("keep_float", "wide") and value != default[key]
    ]
    yield f"  found in {found['trials']} trials: {', '.join(changed) or 'the options as they are'}{_in_parts(found)}"
    if not found["kept"]:
        yield "  every layer is int8"
    for layer in found["kept"]:
        lost = "" if layer["without"] is None else f"; in int8 the drop would be {layer['without']:.3g}"
        how = "stays in float" if layer["how"] == "keep_float" else "has 16-bit activations"
        yield f"  {how}: {layer['name']} ({layer['operator']}), SQNR {layer['sqnr_db']:.1f} dB{lost}"


def _in_parts(found: dict[str, Any]) -> str:
    """On what the trials were scored, where that was not all of the examples for each."""
    parts = [group for group in found.get("scored", ()) if group["of"]]
    if not parts:
        return ""
    trials, examples = sum(group["trials"] for group in parts), sorted(group["examples"] for group in parts)
    most = f" to {examples[-1]:,}" if examples[-1] > examples[0] else ""
    return f"; {trials} of them decided on {examples[0]:,}{most} of {parts[0]['of']:,} examples, the one found on all"


def _saturating(artifact: Artifact) -> Iterator[str]:
    found = saturating.recorded(artifact)
    if found and (found.confirmed or found.possible):
        yield f"  {saturating.headline(found, saturating.can_be_narrowed(artifact))}"


def _trained(
    task: TaskReference, formats: tuple[str, ...], out: str, seed: int, *, scheme: str, max_drop: float | None, force: bool,
    allow_constant: bool, options: QuantizationOptions, calibration: str | None, allow_slower: bool, speed_check: bool, target: str, **_: Any,
) -> list[Artifact]:  # fmt: skip
    if is_model(Path(task.text)):
        raise InvalidInput(f"--qat trains, and {task.text} cannot be trained: give the task that it was exported from")
    if calibration or options.changed():
        name = "calibration" if calibration else options.changed()[0]
        raise InvalidInput(f"--qat learns ranges and weights: leave out --{name.replace('_', '-')}")
    from edgedl.qat.quantize import quantize_aware

    with output.progress_bar("fine-tune for int8") as progress:
        return quantize_aware(
            task, scheme, formats, out, seed=seed, force=force, max_drop=max_drop, speed_check=speed_check,
            allow_slower=allow_slower, allow_constant=allow_constant, target=target, progress=progress,
        )  # fmt: skip

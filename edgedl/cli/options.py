"""Options that several verbs share, each written once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgedl import datasets
from edgedl.reference import TaskReference
from edgedl.sizes import parse_size

Function = Callable[..., Any]

out = click.option(
    "-o", "--out", default=".", show_default=True, metavar="DIR", help="Folder that the files are written into."
)
force = click.option("--force", is_flag=True, help="Write over what is there.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")
target = click.option(
    "--target", default="local", show_default=True, metavar="NAME[:DETAIL]", help="Where it runs; see: edgedl targets."
)
weights = click.option(
    "--weights", metavar="PATH",
    help="Trained weights: .safetensors, a torch checkpoint of plain tensors, or the folder that edgedl prune wrote.",
)  # fmt: skip
ignore_extra = click.option(
    "--ignore-extra", is_flag=True, help="Leave out the tensors in --weights that the model does not have."
)
inputs = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=SHAPE:DTYPE",
    help="An input of a bare nn.Module, in the order of forward, as x=1x3x64x64:float32 or tokens=1x16:int64:0..999.",
)  # fmt: skip
dynamic = click.option(
    "--dynamic", multiple=True, metavar="INPUT:AXIS=NAME",
    help="An axis of any length, as x:0=batch; x:0=batch:1..32 gives the lengths to be proven.",
)  # fmt: skip
shapes = click.option(
    "--shape", "shapes", multiple=True, metavar="INPUT=SHAPE",
    help="A shape that the file takes, as x=1x16x40; given several times, TFLite gets a signature for each.",
)  # fmt: skip
unproven = click.option("--unproven", is_flag=True, help="Take lengths of dynamic axes that the file is not proven at.")
data = click.option(
    "--data", metavar="DIR", type=click.Path(exists=True, file_okay=False), expose_value=False,
    callback=lambda ctx, option, folder: _use_data(folder),
    help=f"Folder of data sets that are not bundled, as DIR/names/*.txt.  [default: ${datasets.VARIABLE}, else downloaded]",
)  # fmt: skip
formats = click.option(
    "--to", "formats", multiple=True, metavar="FORMAT", help="onnx, tflite or ncnn; repeatable.  [default: onnx]"
)
max_drop = click.option(
    "--max-drop", metavar="DROP", callback=lambda ctx, option, text: fraction(text),
    help="Largest loss of the task's score that passes, as 0.5% or 0.005.  [default: the scheme's]",
)  # fmt: skip

allow_constant = click.option(
    "--allow-constant", is_flag=True, help="Take a model whose outputs do not depend on its inputs."
)


def footprint(function: Function) -> Function:
    """--watts --grid --battery --duty, given to the function as texts and a number in its options."""
    grid = click.option(
        "--grid", type=click.FloatRange(0, 1e5), metavar="GRAMS", help="CO2 of your grid in g/kWh, as 350: tells grams."
    )
    battery = click.option("--battery", metavar="CAPACITY", help="As 3000mAh@3.7V: tells how long it lasts at --duty.")
    duty = click.option("--duty", metavar="RATE", help="Inferences per s, min, h or day, as 10/s.")
    watts = click.option(
        "--watts", metavar="POWER",
        help="Power above idle while it runs, with its error, as 3.2+-0.4: models the energy where nothing counts it.",
    )  # fmt: skip
    decorated: Function = watts(grid(battery(duty(function))))
    return decorated


def task(function: Function) -> Function:
    """TASK --weights --input --dynamic, given to the function as one TaskReference `task`."""

    @click.argument("task")
    @weights
    @ignore_extra
    @inputs
    @dynamic
    @shapes
    @data
    @functools.wraps(function)
    def wrapped(
        task: str,
        weights: str | None,
        ignore_extra: bool,
        inputs: tuple[str, ...],
        dynamic: tuple[str, ...],
        shapes: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        return function(task=TaskReference(task, weights, inputs, dynamic, shapes, ignore_extra), **rest)

    return wrapped


def _use_data(folder: str | None) -> None:
    """An environment variable, because the processes that measure need the folder too."""
    if folder:
        os.environ[datasets.VARIABLE] = str(Path(folder).resolve())


def fraction(text: str | None) -> float | None:
    """`0.5%` or `0.005`."""
    if text is None:
        return None
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is neither a percentage as 0.5% nor a number as 0.005") from error


def byte_count(text: str | None) -> float | None:
    """`200kB`, `1.5MB`, `64KiB` or a number of bytes."""
    if text is None:
        return None
    size = parse_size(text)
    if size is None:
        raise click.BadParameter(f"{text!r} is not a number of bytes, such as 200kB, 1.5MB or 64KiB")
    return size

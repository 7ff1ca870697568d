"""edgedl run"""

from __future__ import annotations

from pathlib import Path

import click

from edgedl.cli import options, output
from edgedl.errors import InvalidInput
from edgedl.spec import Array


@click.command("run")
@click.argument("artifact")
@click.option(
    "--input", "files", multiple=True, metavar="[NAME=]FILE",
    help="x.npy for one input (NAME= where there are several), or inputs.npz with arrays by name.",
)  # fmt: skip
@click.option("--runtime", default="auto", show_default=True, help="An engine, auto, or fastest (measured once).")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or tensorrt.")
@click.option("--threads", type=int, help="Threads of the engine.")
@click.option("-o", "--out", metavar="FILE", help="Write the outputs as .npz instead of printing them.")
@options.shapes
@options.unproven
@options.force
@options.as_json
def command(
    artifact: str,
    files: tuple[str, ...],
    shapes: tuple[str, ...],
    unproven: bool,
    runtime: str,
    device: str,
    threads: int | None,
    out: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run a model file, or the loop of an artifact group, once.

    Without --input, on its golden inputs, and say whether the expected outputs come out. A file that edgedl did not write
    has none: it runs on seeded inputs, of a shape that is found by trying, or of --shape.

    \b
    Examples:
      edgedl run out/digits.onnx --input image.npy
      edgedl run out/digits.w8a8.tflite --input image=image.npy -o outputs.npz
      edgedl run out/digits.onnx
      edgedl run model.onnx --shape x=1x3x64x64
      edgedl run out/translation.onnx.group --input source=words.npy
    """
    from edgedl.running import golden_check, run_files, run_seeded, without_inputs, write_outputs

    if files and shapes:
        raise InvalidInput("--shape gives made-up inputs their shape, --input real ones: give one of them")
    if files:
        result = run_files(artifact, files, runtime, device, threads, unproven)
    elif shapes or without_inputs(artifact):
        result = run_seeded(artifact, runtime, device, threads, shapes)
    else:
        result = golden_check(artifact, runtime, device, threads)
    if out:
        write_outputs(Path(out), result.outputs, force)
    if as_json:
        output.print_json(
            {
                "engine": result.engine,
                "outputs": {n: a.tolist() for n, a in result.outputs.items()},
                "golden": result.golden,
                **({"texts": result.texts} if result.texts else {}),
                **({"inputs": result.inputs} if result.inputs else {}),
            }
        )
        return
    on = f" on {result.inputs} (give your own with --input FILE)" if result.inputs else ""
    click.echo(f"{artifact} in {result.engine}{on}" + (f": {result.golden}" if result.golden else ""))
    for text in result.texts:
        click.echo(text)
    for name, array in result.outputs.items() if not out else ():
        click.echo(f"{name} {array.shape} {array.dtype}\n{_shown(array)}")


def _shown(array: Array) -> str:
    import numpy as np

    return np.array2string(array, precision=5, threshold=40, suppress_small=True)

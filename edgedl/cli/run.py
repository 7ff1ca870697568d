"""edgedl run"""

from __future__ import annotations

from pathlib import Path

import click

from edgedl.cli import options, output
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
@options.force
@options.as_json
def command(
    artifact: str,
    files: tuple[str, ...],
    runtime: str,
    device: str,
    threads: int | None,
    out: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run a model file, or the loop of an artifact group, once.

    Without --input, on its golden inputs, and say whether the expected outputs come out.

    \b
    Examples:
      edgedl run out/digits.onnx --input image.npy
      edgedl run out/digits.w8a8.tflite --input image=image.npy -o outputs.npz
      edgedl run out/digits.onnx
      edgedl run out/translation.onnx.group --input source=words.npy
    """
    from edgedl.running import golden_check, run_files, write_outputs

    result = (
        run_files(artifact, files, runtime, device, threads)
        if files
        else golden_check(artifact, runtime, device, threads)
    )
    if out:
        write_outputs(Path(out), result.outputs, force)
    if as_json:
        output.print_json(
            {
                "engine": result.engine,
                "outputs": {n: a.tolist() for n, a in result.outputs.items()},
                "golden": result.golden,
                **({"texts": result.texts} if result.texts else {}),
            }
        )
        return
    click.echo(f"{artifact} in {result.engine}" + (f": {result.golden}" if result.golden else ""))
    for text in result.texts:
        click.echo(text)
    for name, array in result.outputs.items() if not out else ():
        click.echo(f"{name} {array.shape} {array.dtype}\n{_shown(array)}")


def _shown(array: Array) -> str:
    import numpy as np

    return np.array2string(array, precision=5, threshold=40, suppress_small=True)

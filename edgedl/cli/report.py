"""`edgedl report`: one page from artifacts and a benchmark record."""

from __future__ import annotations

from pathlib import Path

import click

from edgedl.cli import options as shared

EXAMPLES = """\b
Examples:
  edgedl report build/                              report.html from all that is there
  edgedl report record.json build/ -o digits.html
  edgedl report record.json digits.onnx digits.w8a8.onnx --format markdown -o -
"""
SUFFIXES = {"html": ".html", "markdown": ".md", "csv": ".csv"}


@click.command(name="report", epilog=EXAMPLES)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", help="The file to write; - prints it. [default: report.html, .md or .csv]")
@click.option("--format", "fmt", type=click.Choice(sorted(SUFFIXES)), help="[default: what the output's suffix says]")
@click.option("--max-drop", type=click.FloatRange(0), default=0.01, show_default=True, help="Loss of score allowed.")
@shared.force
def command(sources: tuple[Path, ...], output: str | None, fmt: str | None, max_drop: float, force: bool) -> None:
    """Write one self-contained page: verdict, tables and plots.

    SOURCE is a record of `edgedl benchmark -o`, a comparison of `edgedl compare -o NAME.json`, a model file, or a
    folder that holds them.
    """
    from edgedl.files import refuse_existing, write_atomic
    from edgedl.report import build, render
    from edgedl.report.sources import collect
    from edgedl.report.table import printable

    fmt = fmt or _format_of(output)
    path = Path(output or f"report{SUFFIXES[fmt]}")
    if output != "-" and not force:
        refuse_existing(path)
    found = collect(sources)
    report = build(found.artifacts, found.record, max_drop, layers=found.layers)
    text = render(report, fmt)
    if output == "-":
        click.echo(text, nl=False)
        return
    write_atomic(path, text.encode())
    click.echo(printable(report.choice.sentence))
    click.echo(f"Wrote {path}")


def _format_of(output: str | None) -> str:
    known = {suffix: name for name, suffix in SUFFIXES.items()} | {".htm": "html", ".markdown": "markdown"}
    return known.get(Path(output).suffix, "html") if output else "html"

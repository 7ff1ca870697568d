"""edgedl targets"""

from __future__ import annotations

from dataclasses import asdict

import click

from edgedl.cli import options, output


@click.command("targets")
@click.option("--forgive", metavar="NAME", help="Try a device of a fleet again that is skipped for its failures.")
@options.as_json
def command(forgive: str | None, as_json: bool) -> None:
    """List where models can run and be measured: ready, set up by a command, or not possible here and why.

    \b
    Examples:
      edgedl targets
      edgedl benchmark model.tflite --target qemu-aarch64:cortex-a76
    """
    from edgedl.targets import listed
    from edgedl.targets.fleet import quarantine

    if forgive:
        quarantine().forgive(forgive)
        click.echo(f"{forgive} is tried again")
        return
    found = listed()
    if as_json:
        output.print_json([asdict(item) for item in found])
        return
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        click.echo(f"{item.name:{width}}  {_told(item.status.state, item.status.detail)}  {item.summary}".rstrip())
    for target, trouble in quarantine().skipped().items():
        click.echo(f"{trouble.name} ({target}) is skipped: {trouble.told()} (edgedl targets --forgive {trouble.name})")


def _told(state: str, detail: str) -> str:
    return {
        "ready": f"ready ({detail})" if detail else "ready",
        "set-up": f"needs set-up: {detail}",
        "impossible": f"not possible here: {detail}",
    }[state]

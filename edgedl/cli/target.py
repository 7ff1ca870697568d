"""edgedl target"""

from __future__ import annotations

import click

from edgedl.cli import output
from edgedl.errors import InvalidInput, UnknownName


@click.group("target")
def command() -> None:
    """Set a target up, or remove what its set-up made.

    \b
    Examples:
      edgedl target setup qemu-aarch64
      edgedl target setup ssh://pi@raspberrypi.local --set engine=litert
      edgedl target remove qemu-aarch64
    """


@command.command("setup")
@click.argument("target")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of this target; repeatable.")
def setup(target: str, settings: tuple[str, ...]) -> None:
    """Make TARGET ready. What was interrupted goes on where it stopped."""
    from edgedl.targets import kind_of
    from edgedl.targets.fleet import quarantine

    kind, detail = kind_of(target)
    kind.setup(detail, _parsed(settings, kind.settings), output.note)
    quarantine().worked(target)
    click.echo(f"{target} is ready: edgedl benchmark ARTIFACT --target {target}")


@command.command("remove")
@click.argument("target")
def remove(target: str) -> None:
    """Take away what the set-up of TARGET made."""
    from edgedl.targets import kind_of

    kind, detail = kind_of(target)
    kind.remove(detail)
    click.echo(f"{target} is removed")


def _parsed(texts: tuple[str, ...], known: object) -> dict[str, str]:
    assert isinstance(known, dict)
    parsed = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise InvalidInput(f"--set {text!r} is not KEY=VALUE (keys: {', '.join(known) or 'none'})")
        if key not in known:
            raise UnknownName("setting", key, known)
        parsed[key] = value
    return parsed

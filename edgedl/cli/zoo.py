"""edgedl zoo"""

from __future__ import annotations

import click

from edgedl.cli import options, output


@click.group("zoo")
def command() -> None:
    """The reference tasks: small networks on real data, bundled or downloaded once.

    \b
    Examples:
      edgedl zoo list
      edgedl train zoo:digits -o out
    """


@command.command("list")
@options.as_json
def list_tasks(as_json: bool) -> None:
    """List the tasks: name, what it is, licence of its data."""
    from edgedl import zoo

    tasks = [zoo.task(name) for name in zoo.names()]
    if as_json:
        output.print_json([{"name": t.name, "description": t.description, "licence": t.licence} for t in tasks])
        return
    for task in tasks:
        click.echo(f"zoo:{task.name:16} {task.description}  [data: {task.licence}]")

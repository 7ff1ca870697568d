"""edgedl completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      edgedl completion bash >> ~/.bashrc
      edgedl completion zsh > ~/.zfunc/_edgedl
      edgedl completion fish > ~/.config/fish/completions/edgedl.fish
    """
    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(ctx.find_root().command, {}, "edgedl", "_EDGEDL_COMPLETE").source())

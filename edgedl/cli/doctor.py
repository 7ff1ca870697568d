"""edgedl doctor"""

from __future__ import annotations

import platform
from dataclasses import asdict

import click

from edgedl import __version__
from edgedl.cli import options, output
from edgedl.errors import GateFailed, Unavailable


@click.command("doctor")
@options.as_json
def command(as_json: bool) -> None:
    """Compute something on every engine: PASS, FAIL with the reason, or ABSENT with the command that installs it.

    Exit code 0 if at least one runtime works and nothing fails, 1 if something fails, 3 if there is no runtime at all.

    \b
    Examples:
      edgedl doctor
      edgedl doctor --json
    """
    from edgedl.doctor import examine

    findings = list(examine())
    if as_json:
        output.print_json([asdict(finding) for finding in findings])
    else:
        click.echo(
            f"edgedl {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
        )
        for finding in findings:
            click.echo(f"{finding.status:6}  {finding.subject:16}  {finding.detail}")
    if failed := [finding.subject for finding in findings if finding.status == "FAIL"]:
        raise GateFailed(f"{', '.join(failed)} failed")
    if not any(f.status == "PASS" and f.subject.startswith("runtime") for f in findings):
        raise Unavailable("no runtime is installed: pip install 'edgedl[ort]' or 'edgedl[litert]'")

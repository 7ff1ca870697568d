"""The command line: the only code that prints or sets an exit code. Each verb is a file that defines `command`."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import click

from edgedl import __version__
from edgedl.errors import EdgedlError, InvalidInput, Unavailable, UnknownName

VERBS = {
    "analyze": "Tell what stands in the way of an export, before the long work.",
    "benchmark": "Measure latency and memory, interleaved, one process each.",
    "compare": "Hold two models side by side, tensor by tensor, worst first.",
    "check": "Fail on a real regression of speed, size or score, for continuous integration.",
    "completion": "Print the shell completion script.",
    "doctor": "Compute something on every engine; say what is wrong and how to mend it.",
    "export": "Write a PyTorch model as ONNX and TFLite, proven against the original.",
    "inspect": "Show inputs, outputs, operators, parameters, MACs and bytes of a model file.",
    "optimize": "Do it all: train, export, quantize, prove, measure, report, recommend.",
    "prune": "Remove channels, heads or hidden units within a budget, recovered and proven.",
    "quantize": "Write a model in fewer bits, proven against the original.",
    "report": "Make one HTML or Markdown page of artifacts and measurements.",
    "run": "Run a model file on arrays.",
    "target": "Set up or remove a place to run models: an emulated ARM64, a board.",
    "targets": "List where models can run and be measured.",
    "train": "Train a task and write its weights.",
    "verify": "Prove a model file again, here and now.",
    "zoo": "List the reference tasks.",
}
"""verb -> its line in `edgedl --help`: the list is printed without importing a verb"""

EXTRAS = {
    "torch": "all", "safetensors": "all", "torchao": "qat", "sklearn": "train",
    "lightning_fabric": "train", "PIL": "train", "onnx": "onnx", "onnxscript": "onnx", "onnx_ir": "onnx",
    "onnxruntime": "ort", "litert_torch": "tflite", "ai_edge_quantizer": "tflite", "ai_edge_litert": "litert",
    "torch_pruning": "prune",
}  # fmt: skip
"""module -> the extra that installs it"""

EXIT_CODES = ((InvalidInput, 2), (Unavailable, 3), (EdgedlError, 1))


class LazyGroup(click.Group):
    """Imports a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found: click.Command = importlib.import_module(f"edgedl.cli.{cmd_name}").command
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS:
            raise UnknownName("verb", args[0], VERBS, "(see: edgedl --help)")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(sorted(VERBS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="edgedl")
def cli() -> None:
    """Take a trained PyTorch model to ONNX and TFLite files that are proven to load, to agree and to be worth it.

    \b
    edgedl optimize zoo:digits -o quickstart     the whole way, on a bundled task
    edgedl export net.py:Net --input x=1x3x64x64 --to onnx --to tflite
    edgedl VERB --help                           each verb, with examples

    Every verb takes --debug, which shows the traceback of an error.
    Exit codes: 0 done and proven, 1 a gate failed, 2 the call or its input was wrong,
    3 something that is needed is not installed, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """The entry point of the `edgedl` command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # tidied up after, as Ctrl-C is
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words or bool(os.environ.get("EDGEDL_DEBUG"))
    sys.exit(_run([word for word in words if word != "--debug"], debug))


def _run(words: list[str], debug: bool) -> int:
    try:
        cli.main(words, prog_name="edgedl", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"edgedl: {error.format_message()}{_help_of(error)}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        told = str(stop.__cause__ or stop)
        click.echo(told or "interrupted: nothing half-written was left behind", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _failed(error, debug)
    return 0


def _help_of(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see: {context.command_path} --help)" if context else ""


def _failed(error: Exception, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, EdgedlError):
        click.echo(f"edgedl: {error}", err=True)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    if isinstance(error, ModuleNotFoundError) and (package := (error.name or "").partition(".")[0]) in EXTRAS:
        click.echo(
            f"edgedl: this needs {package}, which is not installed: pip install 'edgedl[{EXTRAS[package]}]'", err=True
        )
        return 3
    if isinstance(error, OSError):
        click.echo(f"edgedl: {error.filename or 'the system'}: {error.strerror or error}", err=True)
        return 2
    first = (str(error).strip() or "no message").splitlines()[0]
    if line := _line_of_the_users(error):
        click.echo(
            f"edgedl: {line} raised {type(error).__name__}: {first} (--debug shows the whole traceback)", err=True
        )
        return 2
    click.echo(
        f"edgedl: internal error, {type(error).__name__}: {first} (please report it with the output of --debug)",
        err=True,
    )
    return 1


def _line_of_the_users(error: Exception) -> str | None:
    from edgedl.source_lines import raised_by_user

    return raised_by_user(error)

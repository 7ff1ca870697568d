"""From the stack trace that torch keeps on a graph node to the line of the user's Python."""

from __future__ import annotations

import functools
import re
import sys
import traceback
from pathlib import Path

from edgedl import registry

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_OURS = f"{Path(__file__).parent}/"
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python", "<")
_NOT_THE_USERS = ("/site-packages/torch/", "/dist-packages/torch/", "/lib/python", "<")


@functools.cache
def _plugins() -> tuple[str, ...]:
    """The packages of all exporters and runtimes, a third party's too: their code is never the model's."""
    points = (*registry.exporters().values(), *registry.runtimes().values())
    return tuple(sorted({point.module.partition(".")[0] for point in points}))


def user_line(stack_trace: str | None) -> str | None:
    """`net.py:12`, the innermost frame that is the user's; torch's own layers, the standard library and edgedl are not.

    A layer of torch called by the user (`self.conv(x)`) gives the line of the call.
    """
    frames = [(match["file"], int(match["line"])) for match in _FRAME.finditer(stack_trace or "")]
    users = [(file, line) for file, line in frames if _is_users(file)]
    return "{}:{}".format(*users[-1]) if users else None


def user_line_of(error: BaseException) -> str | None:
    """The user's line in an exception: from its traceback, or from a stack trace quoted in its message."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return user_line(str(error)) or user_line(frames)


def raised_by_user(error: BaseException) -> str | None:
    """`net.py:12` where the user's own code raised, or called the library that did; None where edgedl's did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(part in frame.filename for part in _LIBRARIES):
            ours = frame.filename.startswith(_OURS) or any(f"/{name}/" in frame.filename for name in _plugins())
            return None if ours or frame.filename == sys.argv[0] else f"{frame.filename}:{frame.lineno}"
    return None


def described(error: BaseException) -> str:
    """`KeyError: 'x' (net.py:12)`, one line."""
    first = (str(error).strip() or "no message").splitlines()[0]
    where = f" ({line})" if (line := user_line_of(error)) else ""
    return f"{type(error).__name__}: {first}{where}"


def _is_users(file: str) -> bool:
    if any(f"/{name}/" in file for name in _plugins()):
        return False
    if "/site-packages/" not in file and file.startswith(_OURS):
        return "/zoo/" in file
    return not any(part in file for part in _NOT_THE_USERS) or _is_model_package(file)


def _is_model_package(file: str) -> bool:
    """Installed model code (timm, transformers, the zoo...) counts as the user's: there is nothing nearer."""
    package = file.partition("-packages/")[2].partition("/")[0]
    return package not in ("", "torch", "onnx", "onnxscript", "litert_torch", "jax", "edgedl") or "/edgedl/zoo/" in file

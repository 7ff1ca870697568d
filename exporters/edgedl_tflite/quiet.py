"""Converters talk on stdout and stderr, from Python and from C++; here they are heard only when they fail."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO


class Chatter:
    """What was written to file descriptors 1 and 2 within `quiet()`; complete once the block has ended."""

    text = ""


@contextlib.contextmanager
def quiet() -> Iterator[Chatter]:
    """Capture both descriptors, warnings and logging; the process's own streams are untouched afterwards."""
    chatter = Chatter()
    with tempfile.TemporaryFile() as file:
        try:
            with _redirected(file), _unlogged(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield chatter
        finally:
            file.seek(0)
            chatter.text = file.read().decode(errors="replace")


@contextlib.contextmanager
def _redirected(file: IO[bytes]) -> Iterator[None]:
    _flush()
    saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    sink = os.fdopen(os.dup(file.fileno()), "w", errors="replace")
    try:
        for descriptor in saved:
            os.dup2(file.fileno(), descriptor)
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield
    finally:
        sink.close()
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()

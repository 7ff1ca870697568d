"""Every error that edgedl raises on purpose.

    EdgedlError
    ├── InvalidInput            the call or what it was given is wrong            (exit code 2)
    │   ├── UnknownName         a name outside the known ones
    │   ├── InvalidReference    a task reference that leads to no task
    │   ├── InvalidArtifact     a file that is missing, truncated, altered or no model
    │   ├── InvalidTensor       an array of a wrong name, shape, dtype or value
    │   ├── OutputExists        the output is there already, or cannot be written
    │   └── Unsupported         an operator, axis or scheme that the format cannot carry
    ├── Unavailable             a package, device or target that is not here      (exit code 3)
    │   └── Unreachable         a device that may answer when it is asked again
    ├── EngineFailed            an engine raised, hung or crashed on an artifact  (exit code 1)
    └── GateFailed              an artifact that was built and not proven         (exit code 1)

The messages are for people: the value, what was expected, the way out. Only the command line turns
the classes into exit codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 28
"""More names than these are counted, not listed."""


class EdgedlError(Exception):
    """The root of the tree above."""


class InvalidInput(EdgedlError):
    """The call or what it was given is wrong."""


class UnknownName(InvalidInput):
    """A name outside the known ones; the message gives the nearest."""

    def __init__(self, kind: str, value: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(value, names, n=3 if len(names) > _LISTED else 1)
        expected = ", ".join(names) or "none" if len(names) <= _LISTED else f"{len(names)} known names"
        guess = f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
        super().__init__(f"unknown {kind} {value!r}: expected one of {expected}{guess}{' ' if hint else ''}{hint}")


class InvalidReference(InvalidInput):
    """A task reference that leads to no task."""


class InvalidArtifact(InvalidInput):
    """A file that is missing, truncated, altered or no model."""


class InvalidTensor(InvalidInput):
    """An array of a wrong name, shape, dtype or value."""


class OutputExists(InvalidInput):
    """The output is there already, or cannot be written."""


class Unsupported(InvalidInput):
    """An operator, axis or scheme that the format cannot carry."""


class Unavailable(EdgedlError):
    """A package, device or target that is not here."""


class Unreachable(Unavailable):
    """A device that did not answer, or a connection that was cut: it may be there when it is tried again."""


class EngineFailed(EdgedlError):
    """An engine raised, hung or crashed on an artifact."""


class GateFailed(EdgedlError):
    """An artifact that was built and not proven."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, with a sentence about what was kept; no EdgedlError, so that nothing takes it for a failure."""

"""From the text of `--target` to a target."""

from __future__ import annotations

from edgedl import registry
from edgedl.errors import InvalidInput
from edgedl.targets.target import Target, TargetKind


def find(text: str) -> Target:
    """`NAME[:DETAIL]`, as `local`, `qemu-aarch64:cortex-a53` or `ssh://pi@board:22`; UnknownName, Unavailable, InvalidInput."""
    kind, detail = kind_of(text)
    return kind.open(detail)


def kind_of(text: str) -> tuple[TargetKind, str]:
    """(kind, detail) of a target's text."""
    if text.startswith("@"):
        raise InvalidInput(f"{text} is a fleet, which only edgedl benchmark takes: name one of its devices")
    name, _, detail = text.partition(":")
    return registry.target(name), detail

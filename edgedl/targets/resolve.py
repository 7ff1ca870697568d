"""From the text of `--target` to a target."""

from __future__ import annotations

from edgedl import registry
from edgedl.targets.target import Target, TargetKind


def find(text: str) -> Target:
    """`NAME[:DETAIL]`, as `local`, `qemu-aarch64:cortex-a53` or `ssh://pi@board:22`; UnknownName, Unavailable, InvalidInput."""
    kind, detail = kind_of(text)
    return kind.open(detail)


def kind_of(text: str) -> tuple[TargetKind, str]:
    """(kind, detail) of a target's text."""
    name, _, detail = text.partition(":")
    return registry.target(name), detail

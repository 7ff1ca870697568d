"""All kinds of target, and how things stand with each."""

from __future__ import annotations

from dataclasses import dataclass

from edgedl import registry
from edgedl.errors import EdgedlError
from edgedl.targets.target import Status


@dataclass(frozen=True)
class Listed:
    """name: as before the colon. summary, example: the plugin's own; "" where it could not be imported."""

    name: str
    summary: str
    example: str
    status: Status


def listed() -> list[Listed]:
    """Every registered kind, by name; a plugin that fails is told as impossible, with the reason."""
    return [_one(name) for name in sorted(registry.targets())]


def _one(name: str) -> Listed:
    try:
        kind = registry.target(name)
        return Listed(name, kind.summary, kind.example, kind.status())
    except EdgedlError as error:
        return Listed(name, "", "", Status("impossible", str(error)))
    except Exception as error:  # a third party's mistake must not hide the other targets
        return Listed(name, "", "", Status("impossible", f"its plugin raised {type(error).__name__}: {error}"))

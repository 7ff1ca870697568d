"""Exporters, runtimes and targets by entry point, listed without importing them.

A plugin names an object in the group `edgedl.exporters`, `edgedl.runtimes` or `edgedl.targets`; the built-ins use the same door.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from edgedl.errors import Unavailable, UnknownName

if TYPE_CHECKING:
    from edgedl.exporter import Exporter
    from edgedl.runtime import Runtime
    from edgedl.targets import TargetKind

T = TypeVar("T")


def exporters() -> dict[str, EntryPoint]:
    """Format name -> entry point."""
    return {point.name: point for point in entry_points(group="edgedl.exporters")}


def runtimes() -> dict[str, EntryPoint]:
    """Engine name -> entry point."""
    return {point.name: point for point in entry_points(group="edgedl.runtimes")}


def targets() -> dict[str, EntryPoint]:
    """Kind of target -> entry point."""
    return {point.name: point for point in entry_points(group="edgedl.targets")}


def exporter(name: str) -> Exporter:
    """The exporter of a format; UnknownName, or Unavailable with the command that installs what it needs."""
    found: Exporter = _load("format", name, exporters())
    return found


def runtime(name: str) -> Runtime:
    """The runtime of an engine; UnknownName, or Unavailable with the command that installs what it needs."""
    found: Runtime = _load("runtime", name, runtimes())
    return found


def target(name: str) -> TargetKind:
    """The kind of target; UnknownName, or Unavailable with the command that installs what it needs."""
    found: TargetKind = _load("target", name, targets())
    return found


def proving_runtimes(format: str) -> tuple[str, ...]:
    """The engines that the exporter of a format proves its files with, best first; none where there is no exporter."""
    with contextlib.suppress(KeyError, Unavailable):
        runtimes: tuple[str, ...] = _imported(exporters()[format]).runtimes
        return runtimes
    return ()


def missing(plugin: Exporter | Runtime | TargetKind) -> list[str]:
    """The modules that the plugin needs and that are not installed."""
    return [name for name in plugin.requires if not installed(name)]


def installed(module: str) -> bool:
    """Whether a module, or one of `a|b`, could be imported; nothing is."""
    try:
        return any(importlib.util.find_spec(name) for name in module.split("|"))
    except ModuleNotFoundError:
        return False


def _load(kind: str, name: str, points: dict[str, EntryPoint]) -> Any:
    if name not in points:
        raise UnknownName(kind, name, points)
    plugin = _imported(points[name])
    if absent := missing(plugin):
        needs = ", ".join(module.replace("|", " or ") for module in absent)
        raise Unavailable(
            f"{kind} {name!r} needs {needs}, which is not installed: pip install 'edgedl[{plugin.extra}]'"
        )
    return plugin


def _imported(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise Unavailable(f"the plugin {point.name!r} ({point.value}) could not be imported: {error}") from error


def usable_exporters() -> dict[str, Exporter]:
    """The exporters that import and have what they need."""
    return _usable(exporters(), exporter)


def usable_runtimes() -> dict[str, Runtime]:
    """The runtimes that import and have what they need; `edgedl doctor` tells what ails the others."""
    return _usable(runtimes(), runtime)


def _usable(points: dict[str, EntryPoint], load: Callable[[str], T]) -> dict[str, T]:
    found = {}
    for name in points:
        with contextlib.suppress(Unavailable):
            found[name] = load(name)
    return found

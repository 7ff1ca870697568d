"""The devices of a fleet, a TOML file with a table for each.

[pi4]
target = "ssh://pi@pi4.local"   # as of --target
runtime = "ort"                 # else as of --runtime
threads = 4                     # else as of --threads
retries = 2                     # how often a device that cannot be reached is tried again (1)
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from edgedl.errors import InvalidInput, Unavailable, UnknownName
from edgedl.targets.resolve import find


@dataclass(frozen=True)
class Device:
    """name: its table. target, runtime, threads: None leaves it to the command line."""

    name: str
    target: str
    runtime: str | None = None
    threads: int | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 4096:
            raise InvalidInput(f"threads = {self.threads}: expected a number from 1 to 4096")
        if not 0 <= self.retries <= 100:
            raise InvalidInput(f"retries = {self.retries}: expected a number from 0 to 100")
        find(self.target)


_KINDS = {"target": str, "runtime": str, "threads": int, "retries": int}
_REQUIRED = [field.name for field in fields(Device) if field.default is MISSING and field.name in _KINDS]


def read(path: Path) -> tuple[Device, ...]:
    """In the order of the file; InvalidInput, naming the file and the table, for what is wrong in it."""
    tables = _tables(path)
    if not tables:
        raise InvalidInput(f'{path} names no device: give it a table such as [pi4] with target = "ssh://pi@pi4.local"')
    return tuple(_device(name, table, path) for name, table in tables.items())


def _device(name: str, table: Any, path: Path) -> Device:
    try:
        return Device(name, **_checked(table))
    except UnknownName as error:
        raise InvalidInput(f"{path}, [{name}]: {error}") from error
    except (InvalidInput, Unavailable) as error:
        raise type(error)(f"{path}, [{name}]: {error}") from error


def _checked(table: Any) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise InvalidInput(f"it is a {type(table).__name__}, expected a table with target = ...")
    for key, value in table.items():
        if key not in _KINDS:
            raise UnknownName("key", key, _KINDS)
        if type(value) is not _KINDS[key]:
            raise InvalidInput(f"{key} = {value!r} is a {type(value).__name__}, expected {_KINDS[key].__name__}")
    if absent := [key for key in _REQUIRED if key not in table]:
        raise InvalidInput(f'no key "{absent[0]}", as in target = "ssh://pi@pi4.local"')
    return table


def _tables(path: Path) -> dict[str, Any]:
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ModuleNotFoundError as error:
        raise Unavailable("a fleet file needs tomli on Python 3.10: pip install tomli") from error
    try:
        return dict(toml.loads(path.read_bytes().decode()))
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        twice = "a name stands in it twice: " if "twice" in str(error) or "overwrite" in str(error) else ""
        raise InvalidInput(f"{path} is not TOML: {twice}{error}") from error

"""Reference tasks on real data, one file each; every file defines `task()`."""

from __future__ import annotations

import importlib
import pkgutil

from edgedl.errors import UnknownName
from edgedl.task import Task


def names() -> list[str]:
    """The tasks that there are, without importing one."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def task(name: str) -> Task:
    """The task called `name`; UnknownName with the nearest one otherwise."""
    if name not in names():
        raise UnknownName("zoo task", name, names(), "(see: edgedl zoo list)")
    found: Task = importlib.import_module(f"edgedl.zoo.{name}").task()
    return found

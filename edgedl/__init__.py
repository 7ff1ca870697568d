"""edgedl: from a trained PyTorch model to artifacts that are proven on the device they are for.

The names below are the public interface; each is imported when it is first used, so that a device pays for nothing
but numpy and its engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedl.artifact import Artifact
    from edgedl.optimize import optimize
    from edgedl.recipe import Recipe
    from edgedl.reference import TaskReference
    from edgedl.runtime import Session, load
    from edgedl.task import Score, Task
    from edgedl.verbs import export, quantize, verify

__version__ = "0.1.0"

_HOME = {
    "Artifact": "artifact",
    "Recipe": "recipe",
    "Score": "task",
    "Session": "runtime",
    "Task": "task",
    "TaskReference": "reference",
    "export": "verbs",
    "load": "runtime",
    "optimize": "optimize",
    "quantize": "verbs",
    "verify": "verbs",
}
__all__ = [
    "Artifact", "Recipe", "Score", "Session", "Task", "TaskReference",
    "export", "load", "optimize", "quantize", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgedl' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgedl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))

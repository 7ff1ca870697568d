"""edgedl: from a trained PyTorch model to artifacts that are proven on the device they are for.

The names below are the public interface; each is imported when it is first used, so that a device pays for nothing
but numpy and its engine.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedl.artifact import Artifact
    from edgedl.exporter import QuantizationOptions
    from edgedl.exporting import export
    from edgedl.group import DecodeLoop
    from edgedl.group_session import load_group
    from edgedl.measure import measure as benchmark
    from edgedl.optimizing import optimize
    from edgedl.pruning.run import prune
    from edgedl.quantizing import quantize
    from edgedl.recipe import Recipe
    from edgedl.reference import TaskReference
    from edgedl.runtime import Session, load
    from edgedl.spec import Axis, State
    from edgedl.task import EncoderDecoder, Part, Processing, Score, Task
    from edgedl.training import train

__version__ = "0.1.0"

# edgedl sends nothing anywhere. ONNX Runtime 1.32 does on Linux, macOS and Android (microsoft/onnxruntime#27379), and keeps an
# identifier of the device on disk, unless this stands in the environment before it is loaded, here and in child processes.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Artifact", "Axis", "DecodeLoop", "EncoderDecoder", "Engine", "Loop", "Part", "Processing", "QuantizationOptions", "Recipe", "Score", "Session",
    "Stage", "State", "Task", "TaskReference",
    "benchmark", "export", "load", "load_group", "optimize", "prune", "quantize", "train",
]  # fmt: skip
_HOME = {
    "Artifact": "artifact:Artifact",
    "Axis": "spec:Axis",
    "DecodeLoop": "group:DecodeLoop",
    "EncoderDecoder": "task:EncoderDecoder",
    "Engine": "engine:Engine",
    "Loop": "loop:Loop",
    "Part": "task:Part",
    "Processing": "task:Processing",
    "QuantizationOptions": "exporter:QuantizationOptions",
    "Recipe": "recipe:Recipe",
    "Score": "task:Score",
    "Session": "runtime:Session",
    "Stage": "loop:Stage",
    "State": "spec:State",
    "Task": "task:Task",
    "TaskReference": "reference:TaskReference",
    "benchmark": "measure:measure",
    "export": "exporting:export",
    "load": "runtime:load",
    "load_group": "group_session:load_group",
    "optimize": "optimizing:optimize",
    "prune": "pruning.run:prune",
    "quantize": "quantizing:quantize",
    "train": "training:train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgedl' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(f"edgedl.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))

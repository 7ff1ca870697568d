"""The interpreter class of whichever engine is installed, and a file opened in it."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgedl import registry
from edgedl.errors import EngineFailed, InvalidArtifact, Unavailable

_IDENTIFIER = b"TFL3"
_CUSTOM = re.compile(r"unresolved custom op: (\S+?)\.?(?:\s|$)")
_NEWER = re.compile(r"builtin opcode '(\w+)' version '(\d+)'")
_UNPREPARED = re.compile(r"(?:\S+\.(?:cc|h):\d+ )?(.*?)\.?Node number (\d+) \((\w+)\) failed to prepare", re.DOTALL)
_FLEX = re.compile(rb"Flex[A-Z]\w+")


KERNELS = {"xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}
"""which kernels run -> OpResolverType of the engine"""


def engine_module() -> str:
    """`ai_edge_litert` where it is installed, else `tflite_runtime`; Unavailable if neither is."""
    for module in ("ai_edge_litert", "tflite_runtime"):
        if registry.installed(module):
            return module
    raise Unavailable("no engine for .tflite files is installed: pip install 'edgedl[litert]'")


def engine_version(module: str) -> str:
    """`ai-edge-litert 2.3.0`."""
    name = module.replace("_", "-")
    return f"{name} {version(name)}"


def open_interpreter(path: Path, threads: int | None, kernels: str = "AUTO") -> Any:
    """An allocated interpreter. InvalidArtifact if the file is no TFLite model, EngineFailed if the engine refuses it."""
    _check_identifier(path)
    module = importlib.import_module(f"{engine_module()}.interpreter")
    resolver = module.OpResolverType[kernels]
    try:
        interpreter = module.Interpreter(
            model_path=str(path), num_threads=threads, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    except Exception as error:
        if "latbuffer" in str(error):
            raise InvalidArtifact(f"{path} is a truncated or damaged TFLite model: export it again") from error
        raise EngineFailed(refusal(engine_version(engine_module()), path, str(error))) from error
    return interpreter


def _check_identifier(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InvalidArtifact(f"cannot read {path}: {error.strerror}") from error
    if head[4:8] != _IDENTIFIER:
        raise InvalidArtifact(f"{path} is not a TFLite model (no {_IDENTIFIER.decode()} identifier): export it again")


def refusal(name: str, path: Path, said: str) -> str:
    """Why the engine `name` cannot load a file, in one sentence, from what it said."""
    other = "take a newer engine where this processor has one (ai-edge-litert), or choose another scheme"
    if custom := _CUSTOM.search(said):
        return f"{name} cannot load {path}: it has no custom operator {custom[1]}; convert the model without it"
    if "Select TensorFlow op" in said:
        flex = sorted({match.decode() for match in _FLEX.findall(path.read_bytes())})
        return f"{name} cannot load {path}: it needs TensorFlow's own operators ({', '.join(flex)}); convert it without them"
    if newer := _NEWER.search(said):
        needs = f"it needs version {newer[2]} of {newer[1]}, which this engine does not have"
        return f"{name} cannot load {path}: {needs}; {other}"
    if node := _UNPREPARED.search(said):
        reason = " ".join(node[1].split())
        return f"{name} cannot load {path}: it refuses node {node[2]}, {node[3]} ({reason}); {other}"
    return f"{name} cannot load {path}: {(said.strip() or 'no reason given').splitlines()[0]}"

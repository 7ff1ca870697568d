"""The frozen description of a whole run, to and from TOML: what `edgedl optimize` repeats and resumes."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgedl.errors import InvalidInput
from edgedl.reference import TaskReference
from edgedl.schemes import scheme


@dataclass(frozen=True)
class Recipe:
    """task, weights, inputs, dynamic: the TaskReference. formats, schemes: what is made, fp32 always.

    max_drop: the score that may be lost, in its own unit; None is each scheme's own. allow_constant: see edgedl.export. threads: of the engines.
    runs, seconds, rounds: how long is measured; see edgedl.measure.Plan. allow_slower: take files that are slower than float, or
    not smaller.
    """

    task: str
    weights: str | None = None
    inputs: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("onnx", "tflite")
    schemes: tuple[str, ...] = ("w8a8",)
    channels_last: bool = False
    calibration: str | None = None
    samples: int = 256
    max_drop: float | None = None
    allow_constant: bool = False
    seed: int = 0
    threads: int = 1
    runs: int = 200
    seconds: float = 2.0
    rounds: int = 20
    allow_slower: bool = False

    def __post_init__(self) -> None:
        for name in self.schemes:
            scheme(name)

    @property
    def reference(self) -> TaskReference:
        return TaskReference(self.task, self.weights, self.inputs, self.dynamic)

    def to_toml(self) -> str:
        """TOML in the order of the fields; a field that is None is left out."""
        lines = [f"{key} = {_value(value)}" for key, value in asdict(self).items() if value is not None]
        return "# edgedl optimize --recipe THIS_FILE repeats this run\n" + "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str, source: str) -> Recipe:
        """InvalidInput, naming `source` and the key, for what is not a recipe."""
        data = _parse(text, source)
        known = {field.name: field.type for field in fields(cls)}
        if unknown := sorted(data.keys() - known.keys()):
            raise InvalidInput(f"{source}: unknown key {unknown[0]!r}, expected some of {', '.join(known)}")
        if "task" not in data:
            raise InvalidInput(f'{source}: no key "task", as in task = "zoo:digits"')
        for key, value in data.items():
            if not _fits(value, str(known[key])):
                raise InvalidInput(f"{source}: {key} = {value!r} is a {type(value).__name__}, expected {known[key]}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)


def _value(value: Any) -> str:
    """JSON's numbers, booleans, strings and flat lists are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _parse(text: str, source: str) -> dict[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return dict(toml.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{source} is not TOML: {error}") from error


_KINDS = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "None": ()}


def _fits(value: Any, annotation: str) -> bool:
    if annotation.startswith("tuple"):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    kinds = tuple(kind for part in annotation.split(" | ") for kind in _KINDS[part])
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))

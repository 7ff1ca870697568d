"""From the words of a command line to a Task.

    net.py:NAME            a name in a Python file
    package.module:NAME    a name in an importable module
    zoo:NAME               a reference task of edgedl
    timm:NAME              an architecture of timm (random weights unless --weights is given)
    model.pt2              a program saved by torch.export.save
    TASK#encoder           one part of an encoder-decoder, as a task of its own; or TASK#decoder

NAME is a Task, a callable that returns one, an nn.Module or a callable that returns one.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgedl.errors import EdgedlError, InvalidInput, InvalidReference, Unavailable, UnknownName
from edgedl.shapes import with_shapes
from edgedl.source_lines import described
from edgedl.spec import Array, DynamicAxes, InputOption, parse_dynamic, parse_input
from edgedl.task import Task

if TYPE_CHECKING:
    import torch


SEED = 0
"""A model without weights is initialised the same way in every process."""


@dataclass(frozen=True)
class TaskReference:
    """A task in words, as a manifest or another process can hold it.

    text: one of the forms above. weights: a safetensors file, a torch checkpoint, or the folder of a pruned model.
    ignore_extra: leave out the tensors in `weights` that the model does not have.
    inputs, dynamic, shapes: the texts of `--input`, `--dynamic` and `--shape`.
    """

    text: str
    weights: str | None = None
    inputs: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    ignore_extra: bool = False

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> TaskReference:
        """From `dataclasses.asdict`, also after a trip through JSON."""
        return cls(
            fields["text"],
            fields["weights"],
            tuple(fields["inputs"]),
            tuple(fields["dynamic"]),
            tuple(fields.get("shapes", ())),
            fields.get("ignore_extra", False),
        )

    def resolve(self) -> Task:
        """The task, with its weights loaded when the model is made.

        InvalidReference if the words lead to none; Unavailable if a package is missing.
        """
        text, _, part = self.text.partition("#")
        found = _find(text, self.inputs)
        if found.decoding and (self.dynamic or self.shapes):
            raise InvalidInput(
                f"{text} is an encoder-decoder, whose Task says which axes are dynamic: --dynamic and --shape do not"
            )
        task = with_shapes(_with_axes(found, parse_dynamic(self.dynamic)), self.shapes)
        whole = replace(task, model=functools.partial(_make, task, self.weights, self.ignore_extra))
        return _part(whole, part) if part else whole


def _part(whole: Task, name: str) -> Task:
    from edgedl.parts import Parts

    return Parts.of(whole).as_task(name)


def _make(task: Task, weights: str | None, ignore_extra: bool) -> torch.nn.Module:
    import torch

    from edgedl import weights as checkpoints

    torch.manual_seed(SEED)
    try:
        module = task.model()
    except EdgedlError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidReference(f"the model of {task.name!r} could not be made: {described(error)}") from error
    return checkpoints.loaded(module, Path(weights), ignore_extra) if weights is not None else module


def _find(text: str, inputs: tuple[str, ...]) -> Task:
    kind, _, name = text.rpartition(":")
    if text.endswith(".pt2"):
        from edgedl.tasks import pt2

        return pt2.task(Path(text))
    if not kind or not name:
        raise InvalidReference(
            f"{text!r} is not a task reference: expected net.py:NAME, package.module:NAME, zoo:NAME, timm:NAME or a .pt2 file"
        )
    if kind == "zoo":
        from edgedl import zoo

        return zoo.task(name)
    if kind == "timm":
        return _timm(name, inputs)
    return _as_task(text, name, _attribute(_module(kind), name, text), inputs)


def _module(kind: str) -> ModuleType:
    try:
        return _from_file(Path(kind)) if kind.endswith(".py") else _from_path(kind)
    except EdgedlError:
        raise
    except ModuleNotFoundError as error:
        if f"{kind}.".startswith(f"{error.name}."):
            raise InvalidReference(
                f"no module {kind!r} can be imported: give a path (net.py:NAME) or install it"
            ) from error
        raise Unavailable(
            f"{kind} needs the module {error.name!r}, which is not installed: pip install {error.name}"
        ) from error
    except (Exception, SystemExit) as error:
        raise InvalidReference(f"{kind} raised while it was imported: {described(error)}") from error


def _from_path(name: str) -> ModuleType:
    """A module of the current folder, as `python -m` finds it, or an installed one."""
    if "" not in sys.path:
        sys.path.append("")
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.py"))) if path.parent.is_dir() else ""
        raise InvalidReference(f"no such file: {path}" + (f"; {path.parent} holds {there}" if there else ""))
    name = f"edgedl_task_{path.stem.replace('.', '_')}"  # never shadows a module of the same name
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, name: str, text: str) -> Any:
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise UnknownName(f"name in {text.rpartition(':')[0]}", name, public)
    return getattr(module, name)


def _as_task(text: str, name: str, found: Any, inputs: tuple[str, ...]) -> Task:
    import torch

    made = found
    if callable(found) and not isinstance(found, torch.nn.Module | Task):
        try:
            made = found()
        except (Exception, SystemExit) as error:
            raise InvalidReference(f"{text} raised when it was called without arguments: {described(error)}") from error
    if isinstance(made, Task):
        return made
    if not isinstance(made, torch.nn.Module):
        raise InvalidReference(
            f"{text} is a {type(made).__name__}: expected a Task, an nn.Module, or a callable that returns one"
        )
    return _module_task(name, (lambda: made) if made is found else found, inputs)


def _module_task(name: str, model: Any, inputs: tuple[str, ...]) -> Task:
    options = [parse_input(text) for text in inputs]
    if not options:
        raise InvalidReference(
            f"{name} is a bare nn.Module, so its inputs must be told: add --input x=1x3x64x64:float32"
        )
    if len({option.spec.name for option in options}) < len(options):
        raise InvalidReference(f"two inputs of {name} have one name: {', '.join(o.spec.name for o in options)}")
    return Task(name, model, functools.partial(_seeded, options), synthetic=True)


def _seeded(options: list[InputOption]) -> Mapping[str, Array]:
    return {option.spec.name: option.sample(seed) for seed, option in enumerate(options)}


def _timm(name: str, inputs: tuple[str, ...]) -> Task:
    from edgedl.timm_task import architecture

    make, usual_input = architecture(name)
    return _module_task(name.replace(".", "_"), make, inputs or (usual_input,))


def _with_axes(task: Task, axes: DynamicAxes) -> Task:
    from edgedl.spec import Axis

    declared: dict[str, dict[int, Axis]] = {
        name: {number: Axis(axis) if isinstance(axis, str) else axis for number, axis in by_axis.items()}
        for name, by_axis in _merged(task.dynamic_axes, axes).items()
    }
    return replace(task, dynamic_axes=declared)


def _merged(declared: Mapping[str, Mapping[int, Any]], given: DynamicAxes) -> dict[str, dict[int, Any]]:
    return {name: {**declared.get(name, {}), **given.get(name, {})} for name in {**declared, **given}}

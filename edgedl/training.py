"""Training a task through its own `fit`: weights, and a page that says what came of it."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import torch

from edgedl import weights
from edgedl.checkpoint import EVERY, Checkpoint
from edgedl.engine import Engine, is_helper
from edgedl.errors import EdgedlError, GateFailed, Interrupted, InvalidInput, InvalidReference
from edgedl.exporting import Subject, resolve
from edgedl.files import output_folder, refuse_existing, write_files
from edgedl.loop import Fitted, Loop
from edgedl.measure.energy import meter
from edgedl.measure.environment import environment
from edgedl.parts import predict_of
from edgedl.report.training import pages
from edgedl.source_lines import described
from edgedl.task import Progress, Score, Task
from edgedl.training_record import TrainingRecord, curve, result
from edgedl.verify.evidence import scored


def train(
    task: Subject,
    out: str | Path = ".",
    *,
    seed: int = 0,
    force: bool = False,
    progress: Progress = lambda done, total: None,
    engine: Engine | None = None,
    checkpoint_every: float = EVERY,
    grid: float | None = None,
) -> tuple[Path, Score | None]:
    """Train, and write `out/NAME.safetensors` and `out/NAME.training.json`, `.html` and `.md`.

    Returns the path of the weights and the score on held-out data, where the task has one. A `fit` that is a Loop runs on
    `engine`, keeps `out/NAME.checkpoint` while it runs, and goes on from there after an interruption; any other one
    computes where it likes and begins anew. checkpoint_every: seconds. grid: grams of CO2 per kWh of electricity.
    InvalidInput if the task has no `fit` or the engine cannot be given to it; GateFailed if the training diverges.
    """
    resolved, _ = resolve(task)
    engine = engine or Engine()
    _check(resolved, engine)
    path = output_folder(Path(out)) / f"{resolved.name}.safetensors"
    checkpoint = Checkpoint(path.with_suffix(".checkpoint"), f"seed {seed}, {resolved.fit}", checkpoint_every)
    if force:
        checkpoint.remove()
    else:
        refuse_existing(path)
    try:
        with meter(engine.chosen()) as reading:
            fitted = fit(resolved, seed, progress, engine, checkpoint)
    except (EdgedlError, KeyboardInterrupt) as error:
        if is_helper():
            return path, None  # the first process tells
        raise _told(error, checkpoint) from error
    if is_helper():
        return path, None
    write_files(path.parent, {path.name: weights.encode(fitted.module)})  # kept, whatever becomes of the score
    score = scored(resolved.evaluate, predict_of(resolved, fitted.module)) if resolved.evaluate else None
    record = TrainingRecord(
        resolved.name, resolved.description, resolved.licence, seed, _words(resolved), engine, fitted.device,
        sum(parameter.numel() for parameter in fitted.module.parameters()), len(fitted.losses), fitted.seconds, fitted.resumed,
        curve(fitted.losses), environment(), result(score), reading.energy, reading.reason, grid,
    )  # fmt: skip
    write_files(path.parent, pages(record))
    checkpoint.remove()
    return path, score


def _check(task: Task, engine: Engine) -> None:
    if task.fit is None:
        raise InvalidInput(f"{task.name} cannot be trained: its Task has no fit; give trained weights with --weights")
    if engine != Engine() and not isinstance(task.fit, Loop):
        raise InvalidInput(
            f"the fit of {task.name} is a function, which computes where it likes: device, precision, devices and strategy "
            "are for a fit that is an edgedl.Loop"
        )


def fit(task: Task, seed: int, progress: Progress, engine: Engine, checkpoint: Checkpoint) -> Fitted:
    """Train the task's model by its `fit`. InvalidReference if that raises, GateFailed if the training diverges."""
    torch.manual_seed(seed)
    module, began = task.model(), time.monotonic()
    odd = _not_finite(module)
    if isinstance(task.fit, Loop):
        return task.fit.run(module, seed, progress, engine, checkpoint)
    module = call_fit(task, module, seed, progress)
    _check_finite(module, odd)
    return Fitted(module, (), time.monotonic() - began, 0, "cpu")


def call_fit(task: Task, module: torch.nn.Module, seed: int, progress: Progress) -> torch.nn.Module:
    """The module that the task's `fit` returns. InvalidReference if it takes other arguments, raises or returns no module."""
    assert task.fit
    called = f"the fit of {task.name!r}"
    try:
        inspect.signature(task.fit).bind(module, seed, progress)
    except TypeError as error:
        raise InvalidReference(
            f"{called} is called as fit(module, seed, progress), which it does not take: {error}"
        ) from error
    try:
        trained = task.fit(module, seed, progress)
    except EdgedlError:
        raise
    except Exception as error:
        raise InvalidReference(f"{called} raised: {described(error)}") from error
    if not isinstance(trained, torch.nn.Module):
        raise InvalidReference(
            f"{called} returned {type(trained).__name__}, expected the trained module: end it with `return module`"
        )
    return trained


def _check_finite(module: torch.nn.Module, before: set[str]) -> None:
    """before: what was not finite when the module was made, as a mask of minus infinities is."""
    if odd := sorted(_not_finite(module) - before):
        raise GateFailed(f"training diverged: the weights {odd[0]!r} are not finite; lower the learning rate")


def _not_finite(module: torch.nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()}


def _told(error: BaseException, checkpoint: Checkpoint) -> BaseException:
    """An interruption says where the same command goes on."""
    kept = checkpoint.load() if isinstance(error, KeyboardInterrupt) else None
    if kept is None:
        return error
    return Interrupted(
        f"interrupted: the same command goes on from step {kept.done} of {kept.total} ({checkpoint.path})"
    )


def _words(task: Task) -> str:
    return str(task.fit) if isinstance(task.fit, Loop) else "the task's own function"

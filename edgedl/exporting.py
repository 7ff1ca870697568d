"""From a task to proven fp32 artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from edgedl import calibration, registry, weights
from edgedl.adapter import Direct
from edgedl.artifact import Artifact
from edgedl.delivery import Claim, Reference, deliver
from edgedl.errors import InvalidArtifact, Unsupported
from edgedl.exporter import Exporter, Program
from edgedl.files import output_folder, refuse_existing, staging
from edgedl.group import SUFFIX
from edgedl.grouping import deliver_group, loop_reference, of_part
from edgedl.parts import Parts
from edgedl.program import predicting, program_of
from edgedl.reference import TaskReference
from edgedl.schemes import SCHEMES, Scheme
from edgedl.spec import Array, plain
from edgedl.streaming import step_program
from edgedl.task import Predict, Task
from edgedl.verify.cases import enough, given_inputs, real_inputs
from edgedl.verify.joins import joined_parts

Subject = str | TaskReference | Task
"""What is exported: a task, or words that lead to one."""


Said = Callable[[str], None]
"""Is told of each step before it begins."""


def export(
    task: Subject,
    to: Iterable[str] = ("onnx",),
    out: str | Path = ".",
    *,
    channels_last: bool = False,
    streaming: bool = False,
    force: bool = False,
    max_drop: float | None = None,
    allow_constant: bool = False,
    said: Said = lambda step: None,
) -> list[Artifact]:
    """Write `out/NAME.onnx`, `out/NAME.tflite`..., each proven against eager torch, and return them in the order of `to`.

    An encoder-decoder becomes an artifact group, the folder `out/NAME.onnx.group`; see edgedl.group.

    channels_last: inputs of rank 4 become NHWC. streaming: one step of a recurrent network, `NAME.step.onnx`.
    force: write over what is there. max_drop: the largest loss of the task's
    score that passes, in its own unit (default: the scheme's). allow_constant: an original whose outputs do not depend on its
    inputs passes. said: told of each step before it begins.
    Raises Unsupported for what a format cannot carry, OutputExists, and GateFailed for what could not be proven.
    """
    exporters = [registry.exporter(name) for name in dict.fromkeys(to)]
    resolved, provenance = resolve(task)
    out = output_folder(Path(out))
    name = f"{resolved.name}.step" if streaming else resolved.name
    targets = [out / f"{name}{exporter.suffix}{group_suffix(resolved)}" for exporter in exporters]
    if not force:
        refuse_existing(*targets)
    if resolved.decoding:
        _refuse_for_groups(channels_last, streaming)
        return _export_groups(
            resolved,
            provenance,
            dict(zip(targets, exporters, strict=True)),
            within(SCHEMES["fp32"], max_drop, allow_constant),
            said,
        )
    reference = torch_reference(resolved, channels_last, streaming)
    scheme = within(SCHEMES["fp32"], max_drop, allow_constant)
    assert reference.program
    provenance = {**provenance, "channels_last": channels_last, "streaming": streaming}
    artifacts = []
    for exporter, target in zip(exporters, targets, strict=True):
        said(f"export {target.name}")
        claim = Claim(name, exporter, scheme, reference, provenance)
        artifacts.append(_export_one(reference.program, target, claim))
    return artifacts


def group_suffix(task: Task) -> str:
    """What follows the suffix of the format in the name of the task's artifacts."""
    return SUFFIX if task.decoding else ""


def _refuse_for_groups(channels_last: bool, streaming: bool) -> None:
    if channels_last or streaming:
        raise Unsupported(
            f"an encoder-decoder is not exported {'channels last' if channels_last else 'for streaming'}: "
            "its decoder is a step model already, and its files take what its loop gives them"
        )


def _export_groups(
    task: Task, provenance: dict[str, Any], targets: dict[Path, Exporter], scheme: Scheme, said: Said
) -> list[Artifact]:
    """A group for each target; the parts are of one module."""
    parts = Parts.of(task)
    claims = {
        t: Claim(task.name, exporter, scheme, loop_reference(parts), provenance) for t, exporter in targets.items()
    }

    def make(claim: Claim, name: str, part: Task, folder: Path) -> Artifact:
        said(f"export the {name} of {folder.name}")
        reference = torch_reference(part)
        assert reference.program
        target = folder / f"{name}{claim.exporter.suffix}"
        alone = replace(scheme, tolerance=replace(scheme.tolerance, max_drop=SCHEMES["fp32"].tolerance.max_drop))
        of_this = Claim(name, claim.exporter, alone, reference, of_part(provenance, name))
        return _export_one(reference.program, target, of_this)

    return [deliver_group(target, parts, claim, partial(make, claim)) for target, claim in claims.items()]


def _export_one(program: Program, target: Path, claim: Claim) -> Artifact:
    with staging(target.parent) as folder:
        claim.exporter.export(program, folder / target.name)
        return deliver(folder / target.name, target.parent, claim)


def within(scheme: Scheme, max_drop: float | None, allow_constant: bool = False) -> Scheme:
    """The scheme under the limits that the user gives; None: its own."""
    drop = scheme.tolerance.max_drop if max_drop is None else max_drop
    return replace(scheme, tolerance=replace(scheme.tolerance, max_drop=drop, constant=allow_constant))


def resolve(task: Subject) -> tuple[Task, dict[str, Any]]:
    """The task and where it comes from, as the manifest says it."""
    if isinstance(task, Task):
        return task, {"task": None}
    reference = TaskReference(task) if isinstance(task, str) else task
    return reference.resolve(), {"task": asdict(reference), "weights_sha256": _digest(reference)}


def _digest(reference: TaskReference) -> str | None:
    return weights.digest(Path(reference.weights)) if reference.weights else None


def left_by(path: Path, reference: TaskReference) -> Artifact | None:
    """The artifact at `path` if it is whole, proven and made from the same original."""
    try:
        artifact = Artifact.open(path)
    except InvalidArtifact:
        return None
    if not artifact.manifest or artifact.manifest.provenance.get("task") is None:
        return None
    told = artifact.manifest.provenance
    words = replace(TaskReference.from_dict(told["task"]), weights=reference.weights)  # where they lie may change
    same = words == reference and told.get("weights_sha256") == _digest(reference)
    return artifact if same else None


def torch_reference(
    task: Task, channels_last: bool = False, streaming: bool = False, rows: str | None = None
) -> Reference:
    """The task in eager torch on the CPU, as the original that artifacts are held against.

    rows: where the inputs of the proof come from (see edgedl.calibration.from_source); by default the task.
    """
    whole = program_of(task, task.model(), channels_last)
    batches, kind = enough(*_inputs(task, whole, rows), eager(whole))
    step = step_program(whole) if streaming else None
    return Reference(
        f"torch {torch.__version__}", eager(whole), plain(task.example_inputs()), batches, kind,
        step.axes() if step else whole.dynamic_axes, task.evaluate, step or Direct(whole), step.program if step else whole,
        joined=joined_parts(whole), given=rows is not None,
    )  # fmt: skip


def _inputs(task: Task, program: Program, rows: str | None) -> tuple[list[dict[str, Array]], str]:
    specs = program.input_specs()
    if rows is None:
        return real_inputs(task, specs)
    return given_inputs(rows, calibration.from_source(rows, specs), specs, program.dynamic_axes)


def eager(program: Program) -> Predict:
    """The program as a predict function."""
    return predicting(program.module, tuple(program.inputs), program.outputs)

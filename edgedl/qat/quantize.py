"""From a task to proven int8 artifacts that were fine-tuned for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.delivery import Claim, Reference, deliver
from edgedl.errors import UnknownName, Unsupported
from edgedl.exporting import Subject, eager, resolve, torch_reference, with_max_drop
from edgedl.files import make_folder, refuse_existing, staging
from edgedl.schemes import SCHEMES
from edgedl.silence import silent
from edgedl.task import Progress, Task


def quantize_aware(
    task: Subject,
    scheme: str = "w8a8",
    to: Iterable[str] = ("onnx",),
    out: str | Path = ".",
    *,
    seed: int = 0,
    force: bool = False,
    max_drop: float | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Artifact]:
    """Fine-tune the task once, write `out/NAME.w8a8.onnx` (or .tflite) for each format, and return them in the order of `to`.

    Each is proven to agree with the model that was trained, and to lose no more than `max_drop` of the float original's score.
    InvalidInput if the task has no `fit`; Unsupported for another scheme than w8a8, and for what cannot be traced in training.
    """
    if scheme not in SCHEMES:
        raise UnknownName("scheme", scheme, SCHEMES)
    if scheme != "w8a8":
        raise Unsupported(f"--qat trains for w8a8 and not for {scheme}: leave one of them out")
    exporters = [registry.exporter(name) for name in dict.fromkeys(to)]
    resolved, provenance = resolve(task)
    folder = make_folder(Path(out))
    targets = [folder / f"{resolved.name}.{scheme}{exporter.suffix}" for exporter in exporters]
    if not force:
        refuse_existing(*targets)
    reference, allowed = _trained(resolved, seed, progress)
    agreed = replace(SCHEMES[scheme], tolerance=replace(SCHEMES[scheme].tolerance, relative_rms=allowed))
    provenance = {**provenance, "calibration": "training", "qat": {"seed": seed}}
    artifacts = []
    for exporter, target in zip(exporters, targets, strict=True):
        assert reference.program
        claim = Claim(resolved.name, exporter, with_max_drop(agreed, max_drop), reference, provenance)
        with staging(folder) as stage:
            exporter.export(reference.program, stage / target.name)
            artifacts.append(deliver(stage / target.name, folder, claim))
    return artifacts


def _trained(task: Task, seed: int, progress: Progress) -> tuple[Reference, float]:
    """The fine-tuned model as what files are held against, and how near they have to be (relative RMS error).

    The score is still the float original's. Unsupported where torchao made another model of what was trained.
    """
    with silent():
        from edgedl.qat.agreement import agreement, apart
        from edgedl.qat.train import fine_tune
    original, trained = torch_reference(task), fine_tune(task, seed, progress)
    with silent():
        allowed = agreement(trained.integers, original.batches, SCHEMES["w8a8"].tolerance)
        converted = apart(trained.integers, trained.fake, original.batches)
    if not converted <= allowed:
        raise Unsupported(
            f"{task.name} is another model once torchao has converted it (relative RMS error {converted:.2g}, "
            f"at most {allowed:.2g}): leave out --qat"
        )
    return replace(
        original, name=f"{original.name}, trained with the rounding of int8", predict=eager(trained.integers),
        scored=original.predict, program=trained.integers,
    ), allowed  # fmt: skip

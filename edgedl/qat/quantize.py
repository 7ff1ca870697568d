"""From a task to proven int8 artifacts that were fine-tuned for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedl import quantizing, registry
from edgedl.artifact import Artifact
from edgedl.delivery import Claim, Reference, deliver
from edgedl.errors import UnknownName, Unsupported
from edgedl.exporting import Subject, eager, export, resolve, torch_reference, within
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
    allow_constant: bool = False,
    speed_check: bool = True,
    allow_slower: bool = False,
    target: str = "local",
    progress: Progress = lambda done, total: None,
) -> list[Artifact]:
    """Fine-tune the task once, write `out/NAME.w8a8.onnx` (or .tflite) for each format, and return them in the order of `to`.

    Each is proven to agree with the model that was trained, and to lose no more than `max_drop` of the float original's score.
    allow_constant, speed_check, allow_slower, target: as of `edgedl.quantize`, against a float file of the task.
    InvalidInput if the task has no `fit`; Unsupported for another scheme than w8a8, and for what cannot be traced in training.
    """
    if scheme not in SCHEMES:
        raise UnknownName("scheme", scheme, SCHEMES)
    if scheme != "w8a8":
        raise Unsupported(f"--qat trains for w8a8 and not for {scheme}: leave one of them out")
    exporters = [registry.exporter(name) for name in dict.fromkeys(to)]
    resolved, provenance = resolve(task)
    folder = make_folder(Path(out))
    paths = [folder / f"{resolved.name}.{scheme}{exporter.suffix}" for exporter in exporters]
    if not force:
        refuse_existing(*paths)
    reference, allowed = _trained(resolved, seed, progress)
    agreed = replace(SCHEMES[scheme], tolerance=replace(SCHEMES[scheme].tolerance, relative_rms=allowed))
    provenance = {**provenance, "calibration": "training", "qat": {"seed": seed}}
    artifacts = []
    for exporter, path in zip(exporters, paths, strict=True):
        assert reference.program
        with staging(folder) as stage, TemporaryDirectory() as elsewhere:
            parent = partial(_float_file, task, exporter.format, elsewhere)
            judge = quantizing.speed_judge(parent, target) if speed_check else None
            exporter.export(reference.program, stage / path.name)
            claim = Claim(
                resolved.name,
                exporter,
                within(agreed, max_drop, allow_constant),
                reference,
                provenance,
                judge,
                allow_slower,
            )
            artifacts.append(deliver(stage / path.name, folder, claim))
    return artifacts


def _float_file(task: Subject, format: str, folder: str) -> Artifact:
    """The float artifact that the trained one is held against."""
    return export(task, [format], folder)[0]


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

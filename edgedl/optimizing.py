"""The whole way of a model in one call: train, export, quantize, prove, measure, report, recommend.

What a run has made stays; the same recipe on the same folder goes on where it was interrupted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgedl import registry
from edgedl.artifact import Artifact, is_group
from edgedl.comparing import TORCH, compare
from edgedl.comparison import Comparison
from edgedl.errors import EdgedlError, GateFailed, OutputExists, Unsupported
from edgedl.exporting import export, group_suffix, left_by
from edgedl.files import output_folder, remove, write_atomic
from edgedl.measure import BenchmarkRecord, InputChoice, Plan, measure, subjects_of
from edgedl.measure.journal import kept_in
from edgedl.quantizing import quantize
from edgedl.recipe import Recipe
from edgedl.reference import TaskReference
from edgedl.report import Report, build, render
from edgedl.report.verdict import MAX_DROP
from edgedl.task import Progress
from edgedl.training import train

Step = Callable[[str], None]


@dataclass(frozen=True)
class Optimized:
    """artifacts: the proven ones. refused: file name -> why it is not among them. report: rows, verdict, measurements, profiles, layers."""

    folder: Path
    artifacts: tuple[Artifact, ...]
    refused: dict[str, str]
    report: Report


@dataclass
class _Run:
    """One run in progress: its folder, its original, and what has come of it so far."""

    recipe: Recipe
    folder: Path
    reference: TaskReference
    said: Step
    artifacts: list[Artifact] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def make(self, name: str, step: Callable[[], Artifact]) -> Artifact | None:
        """The artifact that an earlier run of the recipe left, else the step's; None, with the reason kept, if it fails."""
        try:
            artifact = left_by(self.folder / name, self.reference) or self._made(name, step)
        except (GateFailed, Unsupported) as error:
            self.refused[name] = str(error)
            return None
        self.artifacts.append(artifact)
        return artifact

    def _made(self, name: str, step: Callable[[], Artifact]) -> Artifact:
        self.said(f"make and prove {name}")
        return step()


def optimize(
    recipe: Recipe, out: str | Path, *, force: bool = False, said: Step = lambda step: None,
    progress: Progress = lambda done, total: None,
) -> Optimized:  # fmt: skip
    """Carry the recipe out in `out`: weights, artifacts, record.json, report.html, report.md, the layers of what is recommended, recipe.toml.

    force: begin anew in a folder that holds another run. said: told of each step. progress: of training and measuring.
    Raises OutputExists for a folder of another recipe, GateFailed if no float artifact could be proven.
    """
    recipe.reference.resolve()
    for name in recipe.formats:
        registry.exporter(name)
    folder = output_folder(Path(out))
    _claim(folder / "recipe.toml", recipe, force)
    run = _Run(recipe, folder, _trained(recipe, folder, said, progress), said)
    for name in recipe.formats:
        _make_format(run, name)
    if not run.artifacts:
        raise GateFailed("; ".join(run.refused.values()))
    said("measure, interleaved, each in a process of its own")
    record = _measured(run, progress)
    max_drop = MAX_DROP if recipe.max_drop is None else recipe.max_drop
    layers = _layers(run, build(run.artifacts, record, max_drop))
    report = build(run.artifacts, record, max_drop, layers=layers, refused=run.refused)
    files = {
        **{f"{Path(found.b).name}.layers.json": found.to_json() for found in layers},
        "record.json": record.to_json(),
        "report.html": render(report, "html"),
        "report.md": render(report, "markdown"),
    }
    for name, text in files.items():
        write_atomic(folder / name, text.encode())
    return Optimized(folder, tuple(run.artifacts), run.refused, report)


def _claim(path: Path, recipe: Recipe, force: bool) -> None:
    """The folder is this recipe's from now on; OutputExists if it is another one's."""
    text = recipe.to_toml()
    if path.is_file() and path.read_text() != text and not force:
        raise OutputExists(f"{path.parent} holds a run of another recipe ({path}): choose another -o, or add --force")
    if force and path.parent.is_dir():
        for file in path.parent.iterdir():
            if file.name.startswith(f"{recipe.reference.resolve().name}."):
                remove(file)
    write_atomic(path, text.encode())


def _trained(recipe: Recipe, folder: Path, said: Step, progress: Progress) -> TaskReference:
    """The reference with weights: the user's, those of an earlier run, or newly trained ones; without `fit`, as it is."""
    task = recipe.reference.resolve()
    if recipe.weights or task.fit is None:
        return recipe.reference
    path = folder / f"{task.name}.safetensors"
    if not path.is_file():
        said(f"train {recipe.task}")
        train(recipe.reference, folder, seed=recipe.seed, progress=progress)
    return replace(recipe.reference, weights=str(path))


def _make_format(run: _Run, format: str) -> None:
    recipe, task = run.recipe, run.reference.resolve()
    stem, suffix = task.name, f"{registry.exporter(format).suffix}{group_suffix(task)}"

    def exported() -> Artifact:
        return export(
            run.reference,
            [format],
            run.folder,
            channels_last=recipe.channels_last,
            force=True,
            max_drop=recipe.max_drop,
            allow_constant=recipe.allow_constant,
        )[0]

    source = run.make(f"{stem}{suffix}", exported)
    if source is None:
        return
    for scheme in recipe.schemes:
        run.make(f"{stem}.{scheme}{suffix}", functools.partial(_quantized, run, source, scheme))


def _quantized(run: _Run, source: Artifact, scheme: str) -> Artifact:
    recipe = run.recipe
    return quantize(
        source, scheme, task=run.reference, calibration=recipe.calibration, samples=recipe.samples,
        max_drop=recipe.max_drop, allow_constant=recipe.allow_constant, allow_slower=recipe.allow_slower, force=True,
    )  # fmt: skip


def _measured(run: _Run, progress: Progress) -> BenchmarkRecord:
    recipe = run.recipe
    subjects = subjects_of([*run.artifacts, run.reference], threads=(recipe.threads,))
    plan = Plan(runs=recipe.runs, seconds=recipe.seconds, rounds=recipe.rounds, seed=recipe.seed, profile=True)
    with kept_in(run.folder / "record.json.journal", subjects, plan, anew=True) as journal:
        return measure(subjects, InputChoice(subjects), plan, progress, journal=journal)


def _layers(run: _Run, report: Report) -> list[Comparison]:
    """What is recommended against the original, tensor by tensor, where it is one quantized file; none where that cannot be told."""
    row = report.choice.row
    shipped = next((artifact for artifact in run.artifacts if row and artifact.path.name == row.name), None)
    if shipped is None or is_group(shipped.path) or (row and row.scheme == "fp32"):
        return []
    run.said(f"compare {shipped.path.name} with the original, layer by layer")
    try:
        return [compare(TORCH, shipped, task=run.reference)]
    except EdgedlError as error:
        run.said(f"no comparison: {error}")
        return []

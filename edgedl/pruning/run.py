"""From a task and a target to a proven pruned artifact: cut, recover, check in the engine."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path

from torch import nn

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, GateFailed, Interrupted, InvalidInput, UnknownName
from edgedl.exporting import Subject, export, resolve
from edgedl.files import output_folder, refuse_existing, write_atomic
from edgedl.measure import BenchmarkRecord, Estimate, speedup
from edgedl.measure.summary import between, is_slower, times
from edgedl.module_copy import full_copy
from edgedl.program import program_of
from edgedl.pruning import cost, importance, saved, selection, sparse
from edgedl.pruning.bench import Bench
from edgedl.pruning.cutting import Cutter, Cutting, over_all
from edgedl.pruning.folding import computing, folded
from edgedl.pruning.outcome import Figures, Options, Pruned
from edgedl.pruning.plan import Plan, composed, fingerprint
from edgedl.pruning.recovery import Recovery
from edgedl.pruning.workshop import Workshop
from edgedl.reference import TaskReference
from edgedl.report.pruning import render
from edgedl.spec import Feeds, plain
from edgedl.task import Progress, Task
from edgedl.training import train
from edgedl.verify.evidence import ScoreDrop, score_drop

FAILED = ".failed"
BATCHES = 8
"""Batches of real inputs that importance and sensitivity are taken from."""


def prune(
    task: Subject,
    out: str | Path,
    options: Options,
    format: str = "onnx",
    *,
    force: bool = False,
    allow_slower: bool = False,
    said: Callable[[str], None] = lambda step: None,
    progress: Progress = lambda done, total: None,
) -> Pruned:
    """Write `out/plan.json`, `out/weights.safetensors` and the proven `out/NAME.onnx` (or .tflite).

    A task without weights is trained first, into `out/NAME.safetensors`. The folder is what `--weights` takes afterwards.
    Raises InvalidInput for options that do not go together, need data that the task has not, or a network that cannot be
    traced; GateFailed, the best result kept as `plan.failed.json` and `weights.failed.safetensors`, if the score falls by
    more than options.max_drop or the result is slower; Interrupted, and the same call goes on.
    """
    check(options)
    folder, exporter = output_folder(Path(out)), registry.exporter(format)
    resolved, _ = resolve(task)
    _check_task(resolved, options)
    if not force:
        names = (saved.PLAN, saved.WEIGHTS, f"{resolved.name}{exporter.suffix}", f"{resolved.name}.safetensors")
        refuse_existing(*(folder / name for name in names))
    subject = task if isinstance(task, TaskReference) else resolved.name
    shop = Workshop.at(folder, f"{subject} {options} {format}", force)
    try:
        whole = _original(task, resolved, options, shop, said, progress)
        bench = Bench(whole, exporter, shop.folder, options.threads, options.seconds)
        result = _Run(task, whole, options, bench, shop, folder, said, progress, allow_slower).finished()
    except KeyboardInterrupt as stop:
        raise Interrupted(f"interrupted: the same command goes on from what is finished ({shop.folder})") from stop
    except EdgedlError:
        shop.close()
        raise
    shop.close()
    return result


def _check_task(task: Task, options: Options) -> None:
    """Before the long work: InvalidInput without the data that is needed, ModuleNotFoundError without the extra."""
    if options.importance in importance.NEEDS_DATA and not task.calibration:
        raise InvalidInput(
            f"--importance {options.importance} needs real inputs: {task.name} has no calibration(); take magnitude"
        )
    if options.method == "structured":
        import_module("torch_pruning")


def check(options: Options) -> None:
    """InvalidInput, UnknownName: for options that do not go together."""
    pattern = sparse.pattern(options.method)
    if options.method not in ("structured", "unstructured") and pattern is None:
        raise UnknownName("method", options.method, ["structured", "unstructured", "2:4"])
    for kind, value, known in (("importance", options.importance, importance.KINDS), ("scope", options.scope, selection.SCOPES)):  # fmt: skip
        if value not in known:
            raise UnknownName(kind, value, known)
    if (options.target is None) == (options.method == "structured"):
        raise InvalidInput(
            "a structured pruning needs one target, and the others none: "
            "--macs 0.5, --params 0.4, --size 200kB or --latency 0.6"
        )
    if (options.sparsity is None) == (options.method == "unstructured"):
        raise InvalidInput(
            "--sparsity goes with --method unstructured, and that needs it: --method unstructured --sparsity 0.8"
        )
    if options.sparsity is not None and not 0 < options.sparsity < 1:
        raise InvalidInput(f"--sparsity {options.sparsity:g}: expected the share of zeros, between 0 and 1, as 0.8")
    alignment = 1 if options.alignment is None else options.alignment
    if min(options.steps, options.rounds + 1, alignment, options.threads) < 1:
        raise InvalidInput("expected 1 or more steps, threads and channels of an alignment, and 0 or more rounds")


def _original(
    task: Subject, resolved: Task, options: Options, shop: Workshop, said: Callable[[str], None], progress: Progress
) -> Task:
    """The task with the weights that are to be pruned: those given, or newly trained ones."""
    if isinstance(task, Task) or resolved.fit is None or (isinstance(task, TaskReference) and task.weights):
        return resolved
    reference = TaskReference(task) if isinstance(task, str) else task
    path = shop.folder / f"{resolved.name}.safetensors"
    if not path.is_file():
        said(f"train {reference.text}, which has no weights")
        train(reference, shop.folder, seed=options.seed, progress=progress)
    return replace(reference, weights=str(path)).resolve()


@dataclass
class _Run:
    """One pruning under way."""

    subject: Subject
    task: Task
    options: Options
    bench: Bench
    shop: Workshop
    folder: Path
    said: Callable[[str], None]
    progress: Progress
    allow_slower: bool
    module: nn.Module = field(init=False)
    plain: tuple[str, ...] = field(init=False)
    recovery: Recovery = field(init=False)

    def finished(self) -> Pruned:
        self.module = self.task.model().eval()
        self.plain = computing(self.module)
        recovery = Recovery(self.task, self.options, self.module, None, self.shop, self.progress)
        self.recovery = replace(recovery, reference=recovery.score(self.module) if self.task.evaluate else None)
        original = self.bench.file(self.module, "original")
        plan, module, cutting = self._pruned(original)
        pruned = self.bench.file(module, "pruned")
        self.said("measure both files, interleaved")
        record = self.bench.measured({"original": original, "pruned": pruned}, 2 * self.options.seconds)
        gain, drop = speedup(record.subjects[1], record.subjects[0]), self._drop(module)
        if failures := self._failures(gain, drop):
            saved.save(plan, module, self.folder, FAILED)
            self._keep_original()
            raise GateFailed(self._told(failures, original, pruned, gain, drop))
        artifact = self._delivered(plan, module)
        before, after = self._both(record, original, artifact, module)
        result = Pruned(
            artifact, self.options.method, before, after, gain, drop, cutting.layers, cutting.sensitivities,
            dict(cutting.locked), cutting.alignment, self.recovery.rounds, self.recovery.taught, self._notes(after),
        )  # fmt: skip
        write_atomic(self.folder / "pruning.html", render(result).encode())
        return result

    def _pruned(self, original: Artifact) -> tuple[Plan, nn.Module, Cutting]:
        """The plan for the original, the recovered module, and the last cut."""
        if self.options.method != "structured":
            return self._sparse()
        whole = {
            "macs": cost.macs(self.module, program_of(self.task, self.module)),
            "params": cost.parameters(self.module),
            "size": original.path.stat().st_size,
        }
        data, real = _data(self.task)
        cutter = Cutter(self.bench, self.options, original, whole, data, real, self.said, self.allow_slower)
        plan, module, steps = self._unpruned(), folded(self.module, self.plain), self.options.steps
        cuttings = []
        for step in range(1, steps + 1):
            share, current = cutter.target.share(whole["size"], step, steps), module
            cutting = self.shop.kept(f"cut{step}", Cutting, partial(cutter.cut, current, share))
            cuttings.append(cutting)
            plan = composed(plan, cutting.plan)
            module = self._recovered(cutting.plan.apply(module), step)
        return plan, module, over_all(cuttings)

    def _sparse(self) -> tuple[Plan, nn.Module, Cutting]:
        """Zeros in place of weights, in steps; the shapes stay."""
        module, steps = full_copy(folded(self.module, self.plain)), self.options.steps
        pattern = sparse.pattern(self.options.method)
        for step in range(1, steps + 1):
            if pattern:
                sparse.n_of_m(module, *pattern)
            else:
                sparse.unstructured(module, (self.options.sparsity or 0.0) * step / steps)
            module = self._recovered(module, step)
        plan = self._unpruned()
        return plan, module, Cutting(plan, (), (), {}, 1)

    def _unpruned(self) -> Plan:
        """The plan that gives layers plain weights, and cuts nothing yet."""
        return Plan(fingerprint(self.module), self.options.method, plain=self.plain)

    def _recovered(self, module: nn.Module, step: int) -> nn.Module:
        """One training after each cut but the last, which gets as many as it needs."""
        self.said(f"recover from cut {step} of {self.options.steps}")
        rounds = self.options.rounds if step == self.options.steps else min(1, self.options.rounds)
        return self.recovery.recovered(module, step, rounds)

    def _drop(self, module: nn.Module) -> ScoreDrop | None:
        reference = self.recovery.reference
        return score_drop(reference, self.recovery.score(module)) if reference else None

    def _failures(self, gain: Estimate, drop: ScoreDrop | None) -> list[str]:
        failures = []
        if drop and drop.drop > self.options.max_drop:
            failures.append(
                f"{drop.name} falls from {drop.reference:.4g} to {drop.value:.4g}, over the budget of {self.options.max_drop:.4g}"
            )
        if is_slower(gain) and not self.allow_slower:
            failures.append(f"it is slower than the original: {times(gain)} as fast ({between(gain)})")
        target = self.options.target
        if target and target.kind == "latency" and 1 / gain.high > target.value:
            failures.append(
                f"it takes {1 / gain.value:.2f} of the original's time, over the {target.value:g} asked for"
            )
        return failures

    def _told(
        self, failures: list[str], original: Artifact, pruned: Artifact, gain: Estimate, drop: ScoreDrop | None
    ) -> str:
        sizes = [file.path.stat().st_size for file in (pruned, original)]
        score = f", {drop.name} {drop.value:.4g}" if drop else ""
        return (
            f"{self.task.name} is not pruned: {'; '.join(failures)}. The best found has {sizes[0]} of {sizes[1]} bytes, "
            f"is {times(gain)} as fast{score}, and is kept as plan.failed.json and weights.failed.safetensors in {self.folder}; "
            "ask for less, or give more --rounds or --steps"
        )

    def _delivered(self, plan: Plan, module: nn.Module) -> Artifact:
        """Both files, the weights of an original that was trained here, and the artifact, proven."""
        saved.save(plan, module, self.folder)
        self._keep_original()
        saved.forget(self.folder, FAILED)
        self.said(f"export and prove {self.task.name}{self.bench.exporter.suffix}")
        (artifact,) = export(self._replayed(), [self.bench.exporter.format], self.folder, force=True, max_drop=self.options.max_drop)  # fmt: skip
        return artifact

    def _keep_original(self) -> None:
        trained = self.shop.folder / f"{self.task.name}.safetensors"
        if trained.is_file():
            shutil.copy(trained, self.folder / trained.name)

    def _replayed(self) -> Subject:
        """The subject with the pruned folder as its weights, as a user would name it."""
        if isinstance(self.subject, Task):
            make = self.subject.model
            return replace(self.subject, model=lambda: saved.load_into(make(), self.folder))
        reference = TaskReference(self.subject) if isinstance(self.subject, str) else self.subject
        return replace(reference, weights=str(self.folder))

    def _both(self, record: BenchmarkRecord, original: Artifact, pruned: Artifact, module: nn.Module) -> list[Figures]:
        modules, files = (self.module, module), (original, pruned)
        return [
            _figures(part, self.task, file, summary.median_ns)
            for part, file, summary in zip(modules, files, record.summaries, strict=True)
            if summary
        ]

    def _notes(self, after: Figures) -> tuple[str, ...]:
        notes = []
        if self.plain:
            notes.append(f"the weights of {', '.join(self.plain)}, which were computed in each run, are plain ones now")
        if self.options.method != "structured":
            notes.append(
                f"{after.zeros:.0%} of the weights are zero: "
                "that shrinks the file only where it is packed, and speeds up no engine here"
            )
        if self.task.evaluate is None:
            notes.append("the task has no evaluate: what was lost of its score is not known")
        if self.task.fit is None:
            notes.append("the task has no fit: nothing was recovered")
        elif self.options.teacher and self.recovery.rounds and not self.recovery.taught:
            notes.append(
                "the task's fit never called the module itself: it was trained without the original as teacher"
            )
        return tuple(notes)


def _figures(module: nn.Module, task: Task, file: Artifact, nanoseconds: Estimate) -> Figures:
    data = file.path.read_bytes()
    milliseconds = Estimate(*(value / 1e6 for value in (nanoseconds.value, nanoseconds.low, nanoseconds.high)))
    return Figures(
        cost.macs(module, program_of(task, module)), cost.parameters(module), len(data), len(gzip.compress(data)),
        milliseconds, sparse.sparsity(module),
    )  # fmt: skip


def _data(task: Task) -> tuple[list[Feeds], bool]:
    """Batches for importance and sensitivity, and whether they are real."""
    if task.calibration:
        return [plain(feeds) for feeds in islice(task.calibration(), BATCHES)], True
    return [plain(task.example_inputs())], False

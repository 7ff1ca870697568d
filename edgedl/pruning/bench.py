"""The format and engine that a pruned model is for: what a module weighs and takes there, not on paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, Unsupported
from edgedl.exporter import Exporter
from edgedl.measure import Estimate, Inputs, Plan, Subject, measure, speedup
from edgedl.measure.inputs import several
from edgedl.measure.record import BenchmarkRecord
from edgedl.program import program_of
from edgedl.silence import silent
from edgedl.spec import TensorSpec, plain
from edgedl.task import Task

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Bench:
    """folder: of the scratch files. threads: of the engine. seconds: measuring time of each file."""

    task: Task
    exporter: Exporter
    folder: Path
    threads: int = 1
    seconds: float = 1.0

    def file(self, module: nn.Module, name: str) -> Artifact:
        """The module as a file of the format, not proven yet; Unsupported if it cannot be one."""
        path = self.folder / f"{name}{self.exporter.suffix}"
        try:
            with silent():
                self.exporter.export(program_of(self.task, module), path)
        except EdgedlError:
            raise
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Unsupported(f"{self.task.name} cannot be exported: {type(error).__name__}: {first}") from error
        return Artifact(path)

    def measured(self, files: dict[str, Artifact], seconds: float | None = None) -> BenchmarkRecord:
        """All files, interleaved, by label; EngineFailed if one of them does not run."""
        subjects = [Subject(label, file, threads=self.threads) for label, file in files.items()]
        plan = Plan(runs=20, seconds=self.seconds if seconds is None else seconds)
        record = measure(subjects, self._feeds, plan, lambda done, total: None)
        if failed := next((subject for subject in record.subjects if subject.failure), None):
            assert failed.failure
            raise EngineFailed(f"{failed.label} does not run: {failed.failure.message}")
        return record

    def gain(self, candidate: Artifact, original: Artifact) -> Estimate:
        """How many times faster the candidate is."""
        record = self.measured({"original": original, "pruned": candidate})
        return speedup(record.subjects[1], record.subjects[0])

    def _feeds(self, subject: Subject, specs: tuple[TensorSpec, ...]) -> Inputs:
        return Inputs(tuple(several([plain(self.task.example_inputs())], specs, 1)), "task")

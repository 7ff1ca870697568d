"""`--target predicted:raspberry-pi-4`: latency and energy from published measurements, where no such device is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, InvalidInput, Unsupported
from edgedl.measure import BenchmarkRecord, FeedsOf, Figure, Measured, Plan, Subject, describe
from edgedl.measure.environment import environment
from edgedl.measure.joules import figure_of
from edgedl.measure.runner import failure_of
from edgedl.predict.models import devices, models_of
from edgedl.predict.prediction import Prediction, predict, workload_of
from edgedl.targets import Target, TargetKind


class PredictedTarget(Target):
    """One device; nothing runs."""

    def __init__(self, device: str) -> None:
        super().__init__(f"predicted:{device}")
        models_of(device)
        self.device = device

    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Callable[[int, int], None]
    ) -> BenchmarkRecord:
        measured = []
        for done, subject in enumerate(subjects, start=1):
            measured.append(self._predicted(subject))
            progress(done, len(subjects))
        return BenchmarkRecord(tuple(measured), plan, environment())

    def _predicted(self, subject: Subject) -> Measured:
        found = replace(describe(subject), target=self.name)
        try:
            if not isinstance(subject.source, Artifact):
                raise Unsupported(
                    f"{subject.source.text} is no file: export it, a prediction is made of what a file computes"
                )
            made = predict(workload_of(subject.source), self.device, subject.threads, subject.source.format)
        except EdgedlError as error:
            return replace(found, failure=failure_of(error))
        return replace(found, engine=made.model.engine, threads=made.model.threads, figures=tuple(figures(made)))


def figures(made: Prediction) -> list[Figure]:
    """Latency and, where the device has published watts, energy, each with its interval."""
    basis = made.model.basis
    latency = Figure("latency", made.seconds * 1e9, "ns", "predicted", made.low * 1e9, made.high * 1e9, basis)
    if made.energy is None:
        return [latency]
    return [latency, figure_of(made.energy)]


class PredictedKind(TargetKind):
    """Boards, phones and microcontrollers by name; see docs/predicted-devices.md for what each was fitted on."""

    name = "predicted"
    summary = "latency and energy of boards, phones and microcontrollers, fitted to published measurements"
    example = "predicted:raspberry-pi-4"

    def open(self, detail: str) -> Target:
        if not detail:
            raise InvalidInput(
                f"--target predicted: expected a device, as predicted:{next(iter(devices()))}: {', '.join(devices())}"
            )
        return PredictedTarget(detail)


kind = PredictedKind()

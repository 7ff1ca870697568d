"""What is known of each artifact in each engine, joined from manifests and measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgedl.artifact import Artifact
from edgedl.errors import InvalidArtifact, InvalidInput
from edgedl.measure import BenchmarkRecord, Measured, Summary
from edgedl.measure.statistics import Estimate
from edgedl.report.evidence import Evidence, evidence_of

ENGINES = {
    "onnxruntime": "ONNX Runtime",
    "ai-edge-litert": "LiteRT",
    "tflite-runtime": "TFLite Runtime",
    "torch": "PyTorch",
}
"""what people call the engines; a plugin goes by its own name"""


@dataclass(frozen=True)
class Row:
    """One artifact (or the task itself, `format` torch) in one engine with one number of threads.

    scheme, evidence: None where no manifest says. smaller: times smaller than the float file of the same format.
    measured, summary: None where it was not measured; the summary is None where the engine failed.
    """

    name: str
    format: str
    scheme: str | None = None
    size: int | None = None
    smaller: float | None = None
    evidence: Evidence | None = None
    measured: Measured | None = None
    summary: Summary | None = None

    @property
    def engine(self) -> str | None:
        """`ONNX Runtime`, from the engine that really ran."""
        if not self.measured:
            return None
        ran = (self.measured.engine or self.measured.runtime).split(" ")[0]
        return ENGINES.get(ran, ran)

    @property
    def threads(self) -> int | None:
        return self.measured.threads if self.measured else None

    @property
    def place(self) -> str | None:
        """The target, by its name in a fleet file where it has one."""
        return self.measured.place if self.measured else None

    @property
    def proven(self) -> bool | None:
        """In this engine; None where there is no evidence, as for the original itself."""
        agrees = self.measured is None or self.measured.agrees
        return self.evidence.passed and agrees if self.evidence else None

    @property
    def score(self) -> float | None:
        return self.evidence.score if self.evidence else None

    @property
    def drop(self) -> float | None:
        return self.evidence.drop if self.evidence else None

    @property
    def median(self) -> Estimate | None:
        """Wall nanoseconds per run."""
        return self.summary.median_ns if self.summary else None

    @property
    def title(self) -> str:
        """`digits.onnx in ONNX Runtime`; threads are told where there are several, and the device of a fleet."""
        threads = f", {self.threads} threads" if (self.threads or 1) > 1 else ""
        device = f" on {self.measured.device_name}" if self.measured and self.measured.device_name else ""
        return f"{self.name} in {self.engine}{threads}{device}" if self.engine else self.name


def join(artifacts: Sequence[Artifact], record: BenchmarkRecord | None) -> tuple[Row, ...]:
    """The measured subjects in their order, then the artifacts that were not measured.

    A file is known by its sha256. InvalidInput where a file of the same name has changed since it was measured.
    """
    known = {_identity(artifact): artifact for artifact in artifacts}
    pairs = zip(record.subjects, record.summaries, strict=True) if record else ()
    rows = [_measured_row(subject, summary, known, artifacts) for subject, summary in pairs]
    seen = {row.measured.sha256 for row in rows if row.measured}
    rows += [_row(artifact, artifacts) for key, artifact in known.items() if key not in seen]
    return tuple(rows)


def _measured_row(
    subject: Measured, summary: Summary | None, known: Mapping[str, Artifact], artifacts: Sequence[Artifact]
) -> Row:
    found = known.get(subject.sha256 or "")
    if found is None and any(artifact.path.name == subject.source for artifact in artifacts):
        raise InvalidInput(f"{subject.source} has changed since it was measured: measure it again")
    if found is not None:
        return _row(found, artifacts, measured=subject, summary=summary)
    original = _original(artifacts) if subject.format == "torch" else None
    scheme = "fp32" if subject.format == "torch" else None
    return Row(subject.source, subject.format, scheme, subject.size, None, original, subject, summary)


def _row(artifact: Artifact, artifacts: Sequence[Artifact], **figures: Any) -> Row:
    manifest = artifact.manifest
    evidence = evidence_of(manifest.evidence) if manifest else None
    scheme, size = manifest.scheme if manifest else None, _size(artifact)
    return Row(artifact.path.name, artifact.format, scheme, size, _smaller(artifact, artifacts), evidence, **figures)


def _identity(artifact: Artifact) -> str:
    return artifact.manifest.sha256 if artifact.manifest else artifact.sha256


def _size(artifact: Artifact) -> int:
    if artifact.manifest:
        return artifact.manifest.size
    try:
        return artifact.path.stat().st_size
    except OSError as error:
        raise InvalidArtifact(f"cannot read {artifact.path}: {error.strerror}") from error


def _smaller(artifact: Artifact, artifacts: Sequence[Artifact]) -> float | None:
    """Against the float file of the same format whose name begins alike, where there is exactly one."""
    stem = artifact.path.name.split(".")[0]
    floats = [a for a in artifacts if a.format == artifact.format and a.manifest and a.manifest.scheme == "fp32"]
    same = [a for a in floats if a.path.name.split(".")[0] == stem]
    return _size(same[0]) / max(_size(artifact), 1) if len(same) == 1 else None


def _original(artifacts: Sequence[Artifact]) -> Evidence | None:
    """The reference's own score, which is told with each artifact."""
    told = [evidence_of(a.manifest.evidence) for a in artifacts if a.manifest]
    scores = {(e.score_name, e.reference_score) for e in told if e and e.reference_score is not None}
    if len(scores) != 1:
        return None
    ((name, value),) = scores
    return Evidence(passed=None, score_name=name, score=value)

"""The last mile of every verb that writes a model: prove the file in a clean process, then give it its name.

A file that fails keeps only a `.failed` name, so that nothing loads it by mistake.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgedl import tensorfile
from edgedl.adapter import Adapter, Direct
from edgedl.artifact import Artifact, Manifest, golden_path, manifest_path
from edgedl.calibration import SAMPLES, prepared
from edgedl.errors import EngineFailed, GateFailed, InvalidArtifact, InvalidTensor
from edgedl.exporter import Calibration, Exporter, Program
from edgedl.files import publish, sha256
from edgedl.isolated import IsolatedSession
from edgedl.program import output_specs
from edgedl.proven_lengths import lengths_of
from edgedl.runtime import Session, accept
from edgedl.saturation import Saturation
from edgedl.schemes import Scheme
from edgedl.spec import Array, Axis, DynamicAxes, Feeds, TensorSpec, resize
from edgedl.task import Predict, Score
from edgedl.verify import Evidence, prove
from edgedl.verify.cases import cases
from edgedl.verify.culprit import find_culprit
from edgedl.verify.edges import EdgePlan, edge_plan
from edgedl.verify.parity import compare
from edgedl.verify.slices import Joined
from edgedl.worth import Worth

_VERSIONS = (
    "edgedl",
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "ncnn",
    "pnnx",
    "torchao",
    "numpy",
)


@dataclass(frozen=True)
class Reference:
    """The original that artifacts are held against.

    predict: the original itself. example: the task inputs that become golden vectors.
    batches: task inputs, `kind` says what they are. axes: the dynamic ones to be proven.
    adapter: how task inputs become runs of the artifact. program: what is exported, where there is such a thing.
    scored: whose score is not to be lost, where that is another model than `predict`.
    joined: which element of an output is of which of the parts that were concatenated.
    given: the user gave the batches.
    """

    name: str
    predict: Predict
    example: dict[str, Array]
    batches: list[dict[str, Array]]
    kind: str
    axes: DynamicAxes
    evaluate: Callable[[Predict], Score] | None = None
    adapter: Adapter = field(default_factory=Direct)
    program: Program | None = None
    scored: Predict | None = None
    joined: Callable[[Feeds], Mapping[str, Joined]] = lambda feeds: {}
    given: bool = False


Judge = Callable[[Artifact], Worth]

LONG = 64
"""The length up to which an axis without a declared range is proven, where its inputs have no more than MOST_ELEMENTS"""
MOST_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Claim:
    """What a staged file says that it is, before it is proven.

    judge: holds it against its float parent, once it is proven. allow_slower: what the judge finds is told and no failure.
    runs: on which the sums of an integer file are looked at; the inputs of the proof where there are none.
    remedy: what to do about the staged file that is not proven, where that is known. instead: about one that does not pay.
    """

    name: str
    exporter: Exporter
    scheme: Scheme
    reference: Reference
    provenance: Mapping[str, Any]
    judge: Judge | None = None
    allow_slower: bool = False
    runs: Calibration | None = None
    remedy: Callable[[Path], str] = lambda staged: ""
    instead: str = "ship the float file"


def deliver(staged: Path, target: Path, claim: Claim) -> Artifact:
    """Prove `staged`, write its manifest and golden vectors beside it, and move all three into `target`.

    GateFailed, with the reason and the first diverging tensor, leaves `NAME.failed` instead.
    """
    try:
        with IsolatedSession(Artifact(staged), claim.exporter.runtimes[0], foreign=False) as session:
            _check_names(session, claim.reference.program)
            inputs = cases_of(session, claim.reference)
            evidence = prove_session(session, claim.reference, claim.scheme, inputs)
            manifest = _manifest(staged, session, claim, evidence, lengths_of(inputs.values(), claim.reference.axes))
            vectors = golden(session, claim.reference.adapter.first_run(claim.reference.example))
            if evidence.passed:
                manifest = replace(manifest, proven={**manifest.proven, **_beyond(session, claim)})
    except (EngineFailed, InvalidArtifact, InvalidTensor) as failure:
        _set_aside(staged, target)
        raise GateFailed(f"{staged.name} is dead on arrival: {failure}; kept as {staged.name}.failed") from failure
    manifest_path(staged).write_text(manifest.to_json())
    if not evidence.passed:
        wrong = evidence.failures[1:] or not evidence.constant
        culprit = _culprit(staged, claim, _where_wrong(evidence, inputs, claim)) if wrong else ""
        advice = _advice(staged, claim) if wrong and not evidence.only_edges else ""
        _set_aside(staged, target)
        raise GateFailed(
            f"{staged.name} is not proven: {evidence.failures[0]}{culprit}; kept as {staged.name}.failed{advice}"
        )
    golden_path(staged).write_bytes(vectors)
    if claim.judge:
        manifest = _judged(staged, target, manifest, claim.judge(Artifact(staged, manifest)), claim)
    publish(staged.parent, target)
    return Artifact(target / staged.name, manifest)


def _where_wrong(evidence: Evidence, inputs: Mapping[str, Feeds], claim: Claim) -> Feeds:
    """Inputs that the file is wrong on: those of an edge, where it is wrong at edges alone."""
    if not evidence.only_edges:
        return next(iter(inputs.values()))
    case = next(edge.case for edge in evidence.edges if edge.failure)
    return _edges(inputs, claim.reference, claim.scheme).cases[case]


def _judged(staged: Path, target: Path, manifest: Manifest, worth: Worth, claim: Claim) -> Manifest:
    """The manifest with what the judge found; GateFailed where that is not allowed."""
    failures = [] if claim.allow_slower else list(worth.objections)
    found = {"passed": not failures, "failures": failures, "worth": worth.to_dict()}
    manifest = replace(manifest, evidence={**manifest.evidence, **found})
    manifest_path(staged).write_text(manifest.to_json())
    if failures:
        _set_aside(staged, target)
        raise GateFailed(f"{'; '.join(failures)}; kept as {staged.name}.failed; {claim.instead}, or add --allow-slower")
    return manifest


def _check_names(session: Session, program: Program | None) -> None:
    """EngineFailed unless the file has the inputs and outputs of the program, in its order and of its ranks."""
    if not program:
        return
    told = [f"{spec.name}/{len(spec.shape)}" for spec in program.artifact_specs()], list(program.outputs)
    there = [f"{spec.name}/{len(spec.shape)}" for spec in session.inputs], [spec.name for spec in session.outputs]
    if told != there:
        raise EngineFailed(f"its inputs/rank and outputs are {there}, expected {told}")


def prove_session(session: Session, reference: Reference, scheme: Scheme, inputs: Mapping[str, Feeds]) -> Evidence:
    """All cases and the score of one session against the reference, under the scheme's tolerance."""
    adapter = reference.adapter
    return prove(
        adapter.through(session), reference.predict, inputs, scheme.tolerance, reference.evaluate,
        scored=reference.scored, reference_name=reference.name, engine=session.engine, inputs=reference.kind, drift=adapter.drift,
        joined=reference.joined, edges=_edges(inputs, reference, scheme),
    )  # fmt: skip


def _edges(inputs: Mapping[str, Feeds], reference: Reference, scheme: Scheme) -> EdgePlan:
    signatures = reference.program.signatures if reference.program else ()
    return edge_plan(inputs, scheme, reference.axes, signatures)


def cases_of(session: Session, reference: Reference) -> dict[str, dict[str, Array]]:
    program = reference.program
    signatures, critical = (program.signatures, program.critical_lengths) if program else ((), {})
    return cases(reference.batches, reference.axes, session.inputs, signatures, critical, given=reference.given)


def _beyond(session: Session, claim: Claim) -> dict[str, tuple[int, int]]:
    """The axes without a declared range that are proven up to LONG as well, where such a run is small and agrees."""
    program = claim.reference.program
    if not program or program.signatures:
        return {}
    axes = {axis.name: axis for by_axis in claim.reference.axes.values() for axis in by_axis.values()}
    undeclared = [name for name, axis in axes.items() if axis == Axis(name)]
    return {name: (axes[name].low, LONG) for name in undeclared if _agrees_beyond(session, claim, axes, name)}


def _agrees_beyond(session: Session, claim: Claim, axes: Mapping[str, Axis], name: str) -> bool:
    """Whether the file agrees at LONG and at the critical lengths before it; False where the original takes no such length."""
    reference, tolerance = claim.reference, claim.scheme.tolerance.relative_rms
    lowest, run = {n: axis.low for n, axis in axes.items()}, reference.adapter.through(session)
    try:
        for length in _lengths_beyond(claim, axes[name]):
            feeds = resize(reference.batches[0], reference.axes, {**lowest, name: length})
            if sum(array.size for array in feeds.values()) > MOST_ELEMENTS:
                return False
            got, want = run(feeds), reference.predict(feeds)
            if any(compare("", n, got[n], want[n], tolerance).failure for n in want):
                return False
    except Exception:  # whatever the original or the engine raises there, the declared lengths are proven
        return False
    return True


def _lengths_beyond(claim: Claim, axis: Axis) -> list[int]:
    assert claim.reference.program
    program, wider = claim.reference.program, Axis(axis.name, axis.low, LONG)
    axes = {
        name: {number: wider if a.name == axis.name else a for number, a in by_axis.items()}
        for name, by_axis in program.dynamic_axes.items()
    }
    critical = replace(program, dynamic_axes=axes).critical_lengths.get(axis.name, {})
    return [*(length for length in sorted(critical) if length > axis.high), LONG]


def _manifest(
    staged: Path, session: Session, claim: Claim, evidence: Evidence, proven: Mapping[str, tuple[int, int]]
) -> Manifest:
    integers = {"saturation": saturation_of(staged, claim).to_dict()} if claim.scheme.activations == "int8" else {}
    made_in = os.path.relpath(Path.cwd(), staged.parent.parent)
    return Manifest(
        claim.name, claim.exporter.format, claim.scheme.name,
        *_with_axis_names(session, claim.reference.program),
        staged.stat().st_size, sha256(staged), claim.exporter.describe(staged).opset,
        {**claim.provenance, "made_in": made_in, "versions": versions()},
        {**evidence.to_dict(), **integers}, claim.reference.adapter.states, proven=proven,
    )  # fmt: skip


def saturation_of(staged: Path, claim: Claim) -> Saturation:
    """A verdict that opens and closes no gate."""
    batches, adapter = claim.reference.batches, claim.reference.adapter
    specs = claim.exporter.describe(staged).inputs
    runs = claim.runs or prepared(lambda: map(adapter.first_run, batches), specs, SAMPLES)
    return claim.exporter.saturation(staged, runs)


def versions() -> dict[str, str]:
    """What is installed of the packages that decide the bytes of an artifact."""
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _with_axis_names(
    session: Session, program: Program | None
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """(inputs, outputs) with the user's names for the dynamic axes, which not every format can hold."""
    if not program:
        return session.inputs, session.outputs
    return _named(session.inputs, program.artifact_specs()), _named(session.outputs, output_specs(program))


def _named(specs: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    names = {spec.name: spec.shape for spec in wanted}
    return tuple(replace(spec, shape=tuple(map(_name_of, spec.shape, names[spec.name]))) for spec in specs)


def _name_of(there: int | str, wanted: int | str) -> int | str:
    return wanted if isinstance(wanted, str) else there


def golden(session: Session, feeds: Feeds) -> bytes:
    """The golden vectors of a session: these inputs and what it makes of them."""
    inputs = accept(feeds, session.inputs)
    outputs = session.run(inputs)
    return tensorfile.encode(
        {**{f"input/{n}": a for n, a in inputs.items()}, **{f"output/{n}": a for n, a in outputs.items()}}
    )


def _set_aside(staged: Path, target: Path) -> None:
    publish(
        staged.parent,
        target,
        {path.name: path.name.replace(staged.name, f"{staged.name}.failed", 1) for path in staged.parent.iterdir()},
    )


def _culprit(staged: Path, claim: Claim, feeds: Feeds) -> str:
    if not claim.reference.program:
        return ""
    tolerance = claim.scheme.tolerance.relative_rms
    try:
        culprit = find_culprit(
            claim.reference.program, claim.exporter, staged, claim.reference.adapter.program_run(feeds), tolerance
        )
    except Exception as error:  # the explanation must not hide what it explains
        return f" (where it diverges could not be found: {type(error).__name__})"
    return f"; {culprit}" if culprit else ""


def _advice(staged: Path, claim: Claim) -> str:
    found = claim.remedy(staged)
    return f"; {found}" if found else ""

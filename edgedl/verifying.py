"""Proving an artifact again: after a copy, in another engine version, against another budget."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.delivery import cases_of, prove_session
from edgedl.errors import GateFailed, InvalidInput
from edgedl.exporting import Subject, torch_reference, within
from edgedl.files import sha256
from edgedl.grouping import loop_reference, of_member, prove_loop
from edgedl.parts import Parts
from edgedl.quantizing import artifact_reference, made_how, original_of
from edgedl.schemes import SCHEMES, Scheme
from edgedl.seeded_inputs import ranges_of
from edgedl.targets import find
from edgedl.verify import Evidence
from edgedl.verify.culprit import find_culprit


def verify(
    artifact: str | Path,
    task: Subject | None = None,
    runtime: str = "auto",
    max_drop: float | None = None,
    target: str = "local",
    shapes: Sequence[str] = (),
    *,
    allow_constant: bool = False,
) -> Evidence:
    """Hold the artifact against its task in eager torch; GateFailed with the first diverging tensor if it does not agree.

    task: the original, where the manifest does not lead to it. InvalidInput where neither does. target: where the artifact
    runs; the original runs here. A file that was quantized without a task is held against the float file that it was made
    from; shapes: of the inputs there, as `x=1x3x64x64`. allow_constant: an original whose outputs do not depend on its inputs
    passes.
    """
    source = Artifact.open(artifact)
    scheme = within(SCHEMES[source.manifest.scheme if source.manifest else "fp32"], max_drop, allow_constant)
    original = original_of(source, task)
    if original is None:
        return _verify_against_parent(source, runtime, target, scheme, shapes)
    if shapes:
        raise InvalidInput(
            f"--shape is for a file without a task: {source.path} is proven at the lengths of {original.name}"
        )
    if source.manifest and source.manifest.provenance.get("qat"):
        raise InvalidInput(
            f"{source.path} was fine-tuned (--qat), and the model that it agrees with was not kept: "
            f"edgedl run {source.path} holds it against its golden outputs"
        )
    if source.group:
        return _verify_group(source, Parts.of(original), runtime, target, scheme)
    reference = torch_reference(original, **made_how(source))
    with find(target).session(source, runtime) as session:
        inputs = cases_of(session, reference)
        evidence = prove_session(session, reference, scheme, inputs)
    if not evidence.passed:
        assert reference.program
        feeds = reference.adapter.program_run(next(iter(inputs.values())))
        tolerance = scheme.tolerance.relative_rms
        exporter = registry.exporter(source.format)
        culprit = find_culprit(reference.program, exporter, source.path, feeds, tolerance)
        raise GateFailed(f"{source.path} is not proven: {evidence.failures[0]}" + (f"; {culprit}" if culprit else ""))
    return evidence


def _verify_against_parent(
    source: Artifact, runtime: str, target: str, scheme: Scheme, shapes: Sequence[str]
) -> Evidence:
    """Hold a file that was quantized without a task against the float file that it was made from."""
    parent = _parent_of(source)
    told = source.manifest.provenance if source.manifest else {}
    chosen = shapes or told.get("shapes", ())
    with (
        artifact_reference(parent, None, ranges_of(parent), chosen) as (reference, _),
        find(target).session(source, runtime) as session,
    ):
        evidence = prove_session(session, reference, scheme, cases_of(session, reference))
    if not evidence.passed:
        raise GateFailed(f"{source.path} is not proven: {evidence.failures[0]}")
    return evidence


def _parent_of(source: Artifact) -> Artifact:
    """The float file that the manifest names; InvalidInput if there is none, or it has changed."""
    told = source.manifest.provenance if source.manifest else {}
    nothing = f"nothing to hold {source.path} against"
    if not told.get("parent"):
        raise InvalidInput(f"{nothing}: its manifest names no task; give --task net.py:NAME")
    path = Path(os.path.normpath(source.path.parent / str(told["parent"])))
    if not path.is_file() or sha256(path) != told.get("parent_sha256"):
        state = "has changed" if path.is_file() else "is not there"
        raise InvalidInput(f"{nothing}: {path}, the float file that it was made from, {state}; give --task net.py:NAME")
    return Artifact(path)


def _verify_group(source: Artifact, parts: Parts, runtime: str, target: str, scheme: Scheme) -> Evidence:
    """Every member, then the whole loop."""
    members = {
        name: verify(member.path, parts.as_task(name), runtime, None, target, allow_constant=scheme.tolerance.constant)
        for name, member in source.members().items()
    }
    parity = tuple(of_member(name, case) for name, evidence in members.items() for case in evidence.parity)
    with find(target).session(source, runtime) as session:
        evidence = prove_loop(session, loop_reference(parts), scheme, parity)
    if not evidence.passed:
        raise GateFailed(f"{source.path} is not proven: {evidence.failures[0]}")
    return evidence

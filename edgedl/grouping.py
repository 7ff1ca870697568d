"""The last mile of an artifact group: every member proven on its own, then the whole loop, in a clean process, against torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgedl.artifact import Artifact, Manifest, golden_path, manifest_path
from edgedl.delivery import Claim, Reference, golden, versions
from edgedl.errors import EngineFailed, GateFailed, InvalidArtifact, InvalidTensor
from edgedl.files import publish_folder, staging
from edgedl.group import TOKENS, Group, MemberFile
from edgedl.isolated import IsolatedSession
from edgedl.parts import NAMES, Parts
from edgedl.runtime import Session
from edgedl.schemes import Scheme
from edgedl.spec import TensorSpec, plain
from edgedl.task import EncoderDecoder, Task
from edgedl.verify import Evidence, Parity
from edgedl.verify.cases import BATCHES, real_inputs
from edgedl.verify.sequences import prove_sequences

Make = Callable[[str, Task, Path], Artifact]
"""(part, its task, folder) -> the proven artifact of the part, in the folder"""


def deliver_group(target: Path, parts: Parts, claim: Claim, make: Make) -> Artifact:
    """Make the members, prove the loop over them, and give the folder its name.

    GateFailed, of a member or of the loop, leaves `NAME.failed` instead.
    """
    with _folder(target) as folder:
        members = {name: make(name, parts.as_task(name), folder) for name in NAMES}
        manifest = _manifest(members, parts.decoding, claim, folder)
        manifest_path(folder).write_text(manifest.to_json())
        evidence = _proven(folder, claim, members)
        manifest = replace(manifest, evidence=evidence.to_dict())
        manifest_path(folder).write_text(manifest.to_json())
        if not evidence.passed:
            raise GateFailed(f"{target.name} is not proven: {evidence.failures[0]}")
    return Artifact(target, manifest)


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """A staged folder that becomes `target`, or `NAME.failed` where a gate closes."""
    with staging(target.parent) as stage:
        folder = stage / target.name
        folder.mkdir()
        try:
            yield folder
        except GateFailed as failure:
            failed = target.with_name(f"{target.name}.failed")
            publish_folder(folder, failed)
            raise GateFailed(f"{failure}; the group is kept as {failed.name}") from failure
        publish_folder(folder, target)


def loop_reference(parts: Parts) -> Reference:
    """The whole loop in eager torch, as the original that groups are held against."""
    batches, kind = real_inputs(parts.task, ())
    example = plain(parts.task.example_inputs())
    return Reference(f"torch {torch.__version__}", parts.predict, example, batches, kind, {}, parts.task.evaluate)


def prove_loop(session: Session, reference: Reference, scheme: Scheme, parity: tuple[Parity, ...]) -> Evidence:
    """The sequences and the score of a session against the reference. parity: of the members."""
    return prove_sequences(
        session.run, reference.predict, reference.batches[:BATCHES], scheme.tolerance, reference.evaluate,
        reference_name=reference.name, engine=session.engine, inputs=reference.kind, parity=parity,
    )  # fmt: skip


def of_member(name: str, parity: Parity) -> Parity:
    return replace(parity, case=f"{name}, {parity.case}")


def of_part(provenance: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The provenance of a member: `zoo:translation#encoder`."""
    told = provenance.get("task")
    return {**provenance, "task": told and {**told, "text": f"{told['text']}#{name}"}}


def _proven(folder: Path, claim: Claim, members: Mapping[str, Artifact]) -> Evidence:
    manifests = {name: member.manifest for name, member in members.items()}
    parity = tuple(of_member(n, Parity(**case)) for n, m in manifests.items() if m for case in m.evidence["parity"])
    try:
        with IsolatedSession(Artifact.open(folder), claim.exporter.runtimes[0]) as session:
            golden_path(folder).write_bytes(golden(session, claim.reference.example))
            return prove_loop(session, claim.reference, claim.scheme, parity)
    except (EngineFailed, InvalidArtifact, InvalidTensor) as failure:
        raise GateFailed(f"{folder.name} is dead on arrival: {failure}") from failure


def _manifest(members: Mapping[str, Artifact], decoding: EncoderDecoder, claim: Claim, folder: Path) -> Manifest:
    files = {name: MemberFile(member.path.name, member.sha256) for name, member in members.items()}
    words = {name: tuple(words) for name, words in decoding.vocabularies().items()}
    group = Group(files, decoding.loop, words)
    encoder = members["encoder"].manifest
    assert encoder
    batch = encoder.inputs[0].shape[0]
    made_in = os.path.relpath(Path.cwd(), folder.parent.parent)
    return Manifest(
        claim.name, claim.exporter.format, claim.scheme.name,
        encoder.inputs, (TensorSpec(TOKENS, (batch, decoding.loop.length), "int64"),),
        sum(member.size for member in members.values()), group.sha256, encoder.opset,
        {**claim.provenance, "made_in": made_in, "versions": versions()}, group=group,
    )  # fmt: skip

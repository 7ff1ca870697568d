"""One run of a model file in a process of its own, on files or on its golden inputs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.artifact import Artifact, golden_path
from edgedl.calibration import read_arrays
from edgedl.decoding import cut, spelled
from edgedl.errors import GateFailed, InvalidTensor
from edgedl.files import refuse_existing, write_atomic
from edgedl.group import TOKENS
from edgedl.isolated import IsolatedSession
from edgedl.proven_lengths import length_check
from edgedl.seeded_inputs import ranges_of, seeded_inputs
from edgedl.spec import Array, TensorSpec
from edgedl.verify.parity import relative_rms


@dataclass(frozen=True)
class RunResult:
    """outputs by name; golden: what the golden vectors showed, None where they were not used. inputs: what made-up ones were.

    texts: the words of each sequence that an artifact group decoded, where it has a vocabulary.
    """

    engine: str
    outputs: Mapping[str, Array]
    golden: str | None = None
    texts: tuple[str, ...] = ()
    inputs: str | None = None


def run_files(
    path: str, files: tuple[str, ...], runtime: str, device: str, threads: int | None, unproven: bool = False
) -> RunResult:
    """Run on .npy and .npz files; see `edgedl run --help`."""
    artifact = Artifact.open(path)
    with IsolatedSession(artifact, runtime, device, threads) as session:
        feeds: dict[str, Array] = {}
        for text in files:
            feeds |= _read(text, session.inputs)
        if not unproven and (check := length_check(artifact.manifest)):
            check(feeds)
        outputs = session.run(feeds)
    return RunResult(session.engine, outputs, texts=_texts(artifact, outputs))


def run_seeded(path: str, runtime: str, device: str, threads: int | None, shapes: tuple[str, ...] = ()) -> RunResult:
    """Run on seeded inputs, for a file that came without any."""
    artifact = Artifact.open(path)
    with IsolatedSession(artifact, runtime, device, threads) as session:
        made = seeded_inputs(session, path, ranges_of(artifact), shapes)[0]
        outputs = session.run(made.feeds(0))
    return RunResult(session.engine, outputs, inputs=f"seeded inputs {made}")


def without_inputs(path: str) -> bool:
    """Return whether the file came from elsewhere, so that no golden inputs belong to it."""
    artifact = Artifact.open(path)
    return artifact.manifest is None and not golden_path(artifact.path).is_file()


def _texts(artifact: Artifact, outputs: Mapping[str, Array]) -> tuple[str, ...]:
    words = artifact.group.vocabularies.get(TOKENS) if artifact.group else None
    if not artifact.group or not words:
        return ()
    return tuple(spelled(tokens, words) for tokens in cut(outputs[TOKENS], artifact.group.loop.end))


def _read(text: str, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    name, equals, file = text.partition("=")
    if not equals:
        return read_arrays(Path(text), specs)
    named = [spec for spec in specs if spec.name == name]
    if not named:
        raise InvalidTensor(f"--input {text}: no input {name!r}, the model takes {', '.join(map(str, specs))}")
    return read_arrays(Path(file), (named[0],))


def golden_check(path: str, runtime: str, device: str, threads: int | None) -> RunResult:
    """Run on the golden inputs; GateFailed if the outputs are not the expected ones to one percent of their RMS.

    Engines differ by their kernels: int8 by up to two steps between versions, float in the last bits.
    """
    artifact = Artifact.open(path)
    with IsolatedSession(artifact, runtime, device, threads) as session:
        inputs, expected = artifact.golden()
        outputs = session.run(inputs)
    error = max((relative_rms(outputs[name], expected[name]) for name in expected), default=0.0)
    if not error <= 0.01 or not all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f"):
        raise GateFailed(
            f"{path} in {session.engine} does not give its golden outputs: relative RMS error {error:.2g}, expected at most 0.01"
        )
    said = f"golden outputs agree (relative RMS error {error:.2g})"
    return RunResult(session.engine, outputs, said, _texts(artifact, outputs))


def write_outputs(path: Path, outputs: Mapping[str, Array], force: bool) -> None:
    """An .npz of the outputs, whole or not at all."""
    if not force:
        refuse_existing(path)
    buffer = io.BytesIO()
    np.savez(buffer, **outputs)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())

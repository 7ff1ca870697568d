"""Model files from strangers, each opened as `edgedl.load` in a worker would: they run right, or end in one sentence; nothing dies here."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edgedl import Artifact
from edgedl.errors import EdgedlError
from edgedl.isolated import IsolatedSession
from edgedl.spec import TensorSpec

FAULTS = Path(__file__).parents[2] / "faults"
FILES = sorted(path for kind in ("onnx", "tflite") for path in (FAULTS / kind).iterdir())
QUICK = {"crash_1", "crash_9", "cos_3GB", "cycle"}


def _zeros(spec: TensorSpec) -> np.ndarray:  # type: ignore[type-arg]
    return np.zeros([n if isinstance(n, int) else 1 for n in spec.shape], spec.dtype)


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[] if p.stem in QUICK else [pytest.mark.slow]) for p in FILES]
)
def test_it_runs_or_ends_in_one_sentence(path: Path) -> None:
    start = time.monotonic()
    try:
        with IsolatedSession(Artifact(path)) as session:
            assert session.sandbox["system calls"]
            session.run({spec.name: _zeros(spec) for spec in session.inputs})
    except EdgedlError as error:
        assert "\n" not in str(error)
    assert time.monotonic() - start < 60, "the limit of time did not hold"


def _model(folder: Path, text: str) -> Artifact:
    (folder / "model").mkdir()
    (folder / "model" / "net.onnx").write_text(text)
    return Artifact(folder / "model" / "net.onnx")


X = {"x": np.ones((1, 2), np.float32)}


def test_an_engine_reads_the_folder_of_the_model_and_no_other(
    engine: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "secret").write_text("7")
    with IsolatedSession(_model(folder, f"read {folder / 'secret'}"), "fake") as session:
        if not session.sandbox["files"].startswith("on"):
            pytest.skip(session.sandbox["files"])
        with pytest.raises(EdgedlError, match="Permission denied"):
            session.run(X)
    other = tmp_path_factory.mktemp("more")
    with IsolatedSession(_model(other, f"read {other / 'model' / 'net.onnx'}"), "fake") as session:
        assert session.run(X)["y"].tolist() == [[2.0, 2.0]]


def test_the_limit_of_memory_is_named(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    artifact = _model(tmp_path_factory.mktemp("files"), "memory")
    session = IsolatedSession(artifact, "fake", memory=500_000_000)
    with session, pytest.raises(EdgedlError, match=r"needs more memory than its limit of 0\.5 GB"):
        session.run(X)


def test_what_edgedl_wrote_has_no_limit_of_memory(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with IsolatedSession(_model(tmp_path_factory.mktemp("files"), "good"), "fake", foreign=False) as session:
        assert session.sandbox["memory"].startswith("off")
        assert session.run(X)["y"].tolist() == [[2.0, 2.0]]

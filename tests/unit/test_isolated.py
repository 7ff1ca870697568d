from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedl import Artifact, isolated
from edgedl.errors import EngineFailed, InvalidArtifact, InvalidInput, InvalidTensor, UnknownName
from edgedl.isolated import IsolatedSession

IMAGE = np.zeros((2, 1, 8, 8), np.float32)


def test_it_runs_as_the_engine_does(digits_onnx: Artifact) -> None:
    inputs, expected = digits_onnx.golden()
    with IsolatedSession(digits_onnx) as session:
        assert session.engine.startswith("onnxruntime ")
        assert [str(spec) for spec in session.inputs] == ["image: float32[batch, 1, 8, 8]"]
        assert np.array_equal(session.run(inputs)["logits"], expected["logits"])
        assert session(IMAGE)[0].shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"runtime": "orx"}, UnknownName, "unknown runtime 'orx': expected one of .*did you mean 'ort'"),
        ({"device": "gpu"}, UnknownName, "unknown device 'gpu'"),
        ({"runtime": "litert"}, InvalidInput, "'litert' does not load onnx models"),
        ({"threads": 0}, InvalidInput, "threads=0"),
    ],
)
def test_refusals_arrive_as_what_they_were(
    digits_onnx: Artifact, options: dict[str, object], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        IsolatedSession(digits_onnx, **options)  # type: ignore[arg-type]


def test_a_session_survives_a_refused_request(digits_onnx: Artifact) -> None:
    with IsolatedSession(digits_onnx) as session:
        for feeds in ({}, {"image": IMAGE[:, :, 1:]}, {"image": IMAGE.astype(complex)}, {"image": np.array(["a"])}):
            with pytest.raises(InvalidTensor):
                session.run(feeds)
        assert session.run({"image": IMAGE})["logits"].shape == (2, 10)


def test_a_closed_session_says_so(digits_onnx: Artifact) -> None:
    session = IsolatedSession(digits_onnx)
    session.close()
    session.close()
    with pytest.raises(EngineFailed, match="is closed"):
        session.run({"image": IMAGE})


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match="no such model file"):
        IsolatedSession(Artifact(tmp_path / "none.onnx"))


FAKE = """
import ctypes, os, signal, sys, time
from edgedl import worker
class Fake(worker.Worker):
    def load(self, request, _):
        {on_load}
        seconds = dict.fromkeys(("import_seconds", "load_seconds", "cpu_seconds"), 0.0)
        return {{"engine": "fake", "device": "cpu", "evicted": False, **seconds, "inputs": [], "outputs": []}}, {{}}
    def run(self, request, feeds):
        {on_run}
        return {{}}, feeds
worker.Worker = Fake
worker.main()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Artifact]:
    """An artifact whose worker does what it is told when it loads or runs."""
    popen = isolated.subprocess.Popen

    def make(on_load: str = "pass", on_run: str = "pass") -> Artifact:
        script = tmp_path / "fake_worker.py"
        script.write_text(FAKE.format(on_load=on_load, on_run=on_run))
        monkeypatch.setattr(
            isolated.subprocess, "Popen", lambda _, **options: popen([sys.executable, script], **options)
        )
        (tmp_path / "net.onnx").write_bytes(b"x")
        return Artifact(tmp_path / "net.onnx")

    return make


X = {"x": np.arange(3.0)}


def test_a_crash_is_an_error_with_its_signal(fake: Callable[..., Artifact]) -> None:
    with pytest.raises(EngineFailed, match=r"net\.onnx: the engine's process crashed with SIGSEGV"):
        IsolatedSession(fake(on_load="os.kill(os.getpid(), signal.SIGSEGV)"))


def test_a_crash_while_running_quotes_the_last_words(fake: Callable[..., Artifact]) -> None:
    session = IsolatedSession(
        fake(on_run="print('assertion failed in kernel', file=sys.stderr, flush=True); os.abort()")
    )
    with session, pytest.raises(EngineFailed, match="crashed with SIGABRT: assertion failed in kernel"):
        session.run(X)


def test_an_exit_is_an_error(fake: Callable[..., Artifact]) -> None:
    with (
        IsolatedSession(fake(on_run="os._exit(7)")) as session,
        pytest.raises(EngineFailed, match="ended with exit code 7"),
    ):
        session.run(X)


def test_a_hang_is_ended(fake: Callable[..., Artifact]) -> None:
    artifact = fake(on_run="time.sleep(600)")
    with IsolatedSession(artifact, timeout=3) as session, pytest.raises(EngineFailed, match="took more than 3 s"):
        session.run(X)


def test_a_torn_reply_is_a_dead_engine(fake: Callable[..., Artifact]) -> None:
    torn = (
        "os.write(max(map(int, os.listdir('/proc/self/fd'))) - 1, (100).to_bytes(8, 'little') + b'half'); os._exit(1)"
    )
    with IsolatedSession(fake(on_run=torn)) as session, pytest.raises(EngineFailed, match="exit code 1"):
        session.run(X)


@pytest.mark.parametrize(
    "chatter", ["print('INFO: delegate')", "os.write(1, b'INFO: from C')", "ctypes.CDLL(None).puts(b'x')"]
)
def test_what_an_engine_prints_does_not_break_the_protocol(fake: Callable[..., Artifact], chatter: str) -> None:
    with IsolatedSession(fake(on_load=chatter, on_run=chatter)) as session:
        assert session.run(X)["x"].tolist() == [0, 1, 2]


def test_an_error_of_an_engine_is_passed_on(fake: Callable[..., Artifact]) -> None:
    with IsolatedSession(fake(on_run="raise MemoryError('too big')")) as session:
        with pytest.raises(EngineFailed, match="MemoryError: too big"):
            session.run(X)
        with pytest.raises(EngineFailed, match="MemoryError"):
            session.run(X)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with 3.11")
def test_files_of_the_current_folder_do_not_shadow_the_library(
    digits_onnx: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "random", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    with IsolatedSession(digits_onnx) as session:
        assert session.run({"image": IMAGE})["logits"].shape == (2, 10)

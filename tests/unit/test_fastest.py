"""The choice of the fastest engine, on engines made for the test, in real processes; and what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedl import Artifact, fastest, load
from edgedl.errors import EngineFailed, InvalidInput
from edgedl.fastest import Choice
from edgedl.measure import BenchmarkRecord, Failure, Measured, Memory, Plan, Round, subjects
from edgedl.measure.environment import environment

PLAN = Plan(runs=6, seconds=0.0, rounds=6)


def _subject(runtime: str, nanoseconds: int, failure: Failure | None = None) -> Measured:
    rounds = tuple(Round.of(0, [nanoseconds + n, nanoseconds + n], 1e-6, 0) for n in range(6))
    known = {"engine": "e", "load_seconds": 0.1, "first_ns": 1, "memory": Memory(1, 1, 1, 1)}
    return Measured(runtime, "a.onnx", "onnx", runtime, "cpu", 1, rounds=rounds, failure=failure, **known)  # type: ignore[arg-type]


def _chosen(*subjects: Measured, agreeing: set[str]) -> Choice:
    return fastest.chosen(BenchmarkRecord(subjects, PLAN, environment()), agreeing)


def test_the_best_of_the_faster_ones_is_chosen() -> None:
    found = (_subject("ort", 9000), _subject("a", 5000), _subject("b", 3000))
    choice = _chosen(*found, agreeing={"ort", "a", "b"})
    assert (choice.runtime, choice.why) == ("b", "3.00x as fast as ort")


def test_a_difference_within_the_noise_changes_nothing() -> None:
    assert _chosen(_subject("ort", 9000), _subject("a", 8950), agreeing={"ort", "a"}).runtime == "ort"


def test_an_engine_that_disagrees_or_fails_is_not_chosen() -> None:
    failed = _subject("b", 10, Failure("EngineFailed", "it crashed"))
    assert _chosen(_subject("ort", 9000), _subject("a", 100), failed, agreeing={"ort", "b"}).runtime == "ort"
    with pytest.raises(EngineFailed, match=r"no engine could run a\.onnx"):
        _chosen(failed, agreeing=set())


ENGINE = """
import time
from edgedl.runtime import Session
from edgedl.spec import TensorSpec

class FakeSession(Session):
    def __init__(self, name, pause, factor):
        spec = lambda n: (TensorSpec(n, ("batch", 2), "float32"),)
        super().__init__(spec("x"), spec("y"), name, "cpu")
        self.pause, self.factor = pause, factor
    def _invoke(self, feeds):
        time.sleep(self.pause)
        return {"y": feeds["x"] * self.factor}

class Fake:
    formats, requires, extra = frozenset({"onnx"}), (), "fake"
    def __init__(self, name, pause, factor):
        self.name, self.pause, self.factor = name, pause, factor
    def load(self, source, device, threads):
        return FakeSession(self.name, self.pause, self.factor)

slow, quick, wrong = Fake("slow", 0.1, 2.0), Fake("quick", 0.0, 2.0), Fake("wrong", 0.0, 3.0)
"""


@pytest.fixture()
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """A file that three installed engines load; the first by name is slow, one of the others computes something else."""
    info = tmp_path / "site" / "fake_engines-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "fake_engines.py").write_text(ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-engines\nVersion: 1.0\n")
    names = "a_slow = fake_engines:slow\nquick = fake_engines:quick\nwrong = fake_engines:wrong\n"
    (info / "entry_points.txt").write_text(f"[edgedl.runtimes]\n{names}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fastest, "PLAN", Plan(runs=6, seconds=0.0, rounds=6, warmup_runs=1, warmup_seconds=0.0))
    for module in (fastest, subjects):
        monkeypatch.setattr(module, "runtimes_for", lambda source: ["a_slow", "quick", "wrong"])
    (tmp_path / "net.onnx").write_text("a model")
    return Artifact(tmp_path / "net.onnx")


def test_the_fastest_that_agrees_is_measured_once_and_remembered(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fastest.fastest(model).runtime == "quick"
    monkeypatch.setattr(fastest, "_measured", lambda *_: pytest.fail("it was measured again"))
    assert fastest.fastest(model) == Choice("quick", f"remembered in {fastest.cache_file()}")
    assert load(model, "fastest").engine == "quick"
    model.path.write_text("another model")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        fastest.fastest(model)


@pytest.mark.parametrize("kept", ["", "[1]", '{"key": 3}', "\x00"])
def test_a_damaged_memory_is_no_obstacle(model: Artifact, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    monkeypatch.setattr(fastest, "_measured", lambda *_: Choice("quick", "measured"))
    fastest.cache_file().parent.mkdir(parents=True)
    fastest.cache_file().write_text(kept)
    assert fastest.fastest(model).why == "measured"
    assert list(json.loads(fastest.cache_file().read_text()).values()) == ["quick"]


def test_a_machine_without_a_place_to_remember_measures_anew(
    model: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(fastest, "_measured", lambda *_: Choice("quick", "measured"))
    assert [fastest.fastest(model).why for _ in range(2)] == ["measured", "measured"]


@pytest.mark.parametrize(("names", "runtime"), [(["quick"], "quick"), ([], None)])
def test_where_there_is_no_choice_nothing_is_measured(
    model: Artifact, monkeypatch: pytest.MonkeyPatch, names: list[str], runtime: str | None
) -> None:
    monkeypatch.setattr(fastest, "runtimes_for", lambda source: names)
    monkeypatch.setattr(fastest, "_measured", lambda *_: pytest.fail("it was measured"))
    if runtime:
        assert fastest.fastest(model) == Choice(runtime, "it is the only engine installed for this format")
    else:
        with pytest.raises(InvalidInput, match="no installed engine loads onnx models"):
            fastest.fastest(model)


def test_all_means_every_engine_of_the_format(model: Artifact) -> None:
    assert [subject.runtime for subject in subjects.subjects_of([model], ["all"])] == ["a_slow", "quick", "wrong"]
    assert [subject.runtime for subject in subjects.subjects_of([model], ["quick", "all"])] == [
        "quick",
        "a_slow",
        "wrong",
    ]

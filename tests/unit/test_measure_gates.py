"""What `edgedl check` decides, on made-up records: no claim is made about times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from test_measure_samples import ENVIRONMENT, evidence, failed, measured, record

from edgedl.artifact import Artifact, Manifest, manifest_path
from edgedl.cli.check import command
from edgedl.errors import GateFailed, InvalidInput
from edgedl.measure import BenchmarkRecord, Measured, Round
from edgedl.measure.gates import before, drop_gate, time_gate
from made_up_engine import fake_model

OLD = measured("a.onnx", 100, size=1000, sha256="a")


def _slower(factor: float, noise: float = 0.001, seed: int = 0) -> Measured:
    """The rounds of OLD, so much slower, each with a noise of its own."""
    factors = factor * np.random.default_rng(seed).lognormal(0, noise, len(OLD.rounds))
    pairs = zip(OLD.rounds, factors, strict=True)
    rounds = [
        Round.of(0, (f * r.wall_ns).astype(int), float(f) * r.cpu_seconds, 0, seconds=r.seconds) for r, f in pairs
    ]
    return replace(OLD, rounds=tuple(rounds))


@pytest.mark.parametrize(
    ("factor", "noise", "state"),
    [
        (1.0, 0.01, "passed"),
        (1.04, 0.001, "passed"),
        (1.10, 0.01, "failed"),
        (1.3, 0.05, "failed"),
        (0.5, 0.01, "passed"),
    ],
)
def test_a_slowdown_over_the_limit_fails(factor: float, noise: float, state: str) -> None:
    assert time_gate(_slower(factor, noise), OLD, 0.05, paired=True).state == state


def test_what_is_over_the_limit_and_may_be_noise_is_unclear() -> None:
    found = time_gate(_slower(1.1, 0.8), OLD, 0.05, paired=True)
    assert found.state in ("unclear", "passed")
    assert "95 % interval" in found.sentence


def test_records_of_two_days_compare_cpu_time_with_a_wider_interval() -> None:
    slow = time_gate(_slower(1.06), OLD, 0.05, paired=False)
    assert slow.state == "unclear"
    assert "the CPU time of the baseline" in slow.sentence
    assert time_gate(_slower(1.2), OLD, 0.05, paired=False).state == "failed"
    threads = replace(_slower(1.2), threads=2), replace(OLD, threads=2)
    assert "1.200x the time" in time_gate(*threads, 0.05, paired=False).sentence


def test_a_model_that_no_longer_runs_is_a_regression() -> None:
    found = time_gate(failed("a.onnx"), OLD, 0.05, paired=True)
    assert (found.state, found.sentence) == ("failed", "it could not be measured: the process crashed with SIGSEGV")
    with pytest.raises(InvalidInput, match=r"the baseline of a\.onnx in ort was not measured"):
        time_gate(OLD, failed("a.onnx"), 0.05, paired=True)


def _artifact(folder: Path, drop: float, name: str = "net.onnx", score: bool = True) -> Artifact:
    path = folder / name
    path.write_bytes(b"model")
    told = dict(evidence(drop=drop)) if score else {**evidence(), "score": None}
    manifest = Manifest("net", "onnx", "fp32", (), (), 5, Artifact(path).sha256, evidence=told)
    manifest_path(path).write_text(manifest.to_json())
    return Artifact.open(path)


@pytest.mark.parametrize(("drop", "state"), [(0.0, "passed"), (0.004, "passed"), (0.03, "failed")])
def test_a_drop_over_the_limit_fails(tmp_path: Path, drop: float, state: str) -> None:
    assert drop_gate(_artifact(tmp_path, drop), 0.005).state == state


def test_a_drop_that_may_be_none_is_unclear(tmp_path: Path) -> None:
    assert drop_gate(_artifact(tmp_path, 0.0015), 0.001).state == "unclear"


def test_a_drop_that_was_never_proven_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"net\.onnx has no score in its manifest"):
        drop_gate(_artifact(tmp_path, 0, score=False), 0.01)


def test_the_baseline_is_that_of_the_same_name_or_the_only_one_of_the_format() -> None:
    new, old, other = (Artifact(Path(text)) for text in ("new/a.onnx", "old/a.onnx", "old/b.onnx"))
    assert before(new, [other, old]) == old
    assert before(new, [other]) == other
    with pytest.raises(
        InvalidInput, match=r"expected one --baseline for new/a\.onnx, of its name or its format; found none"
    ):
        before(new, [])


def _run(*words: str) -> tuple[Any, str]:
    done = CliRunner().invoke(command, list(words))
    return done.exception or done.exit_code, done.stdout + done.stderr


@pytest.fixture
def records(tmp_path: Path) -> Path:
    made = {"old": OLD, "new": _slower(1.3), "same": _slower(1.0, seed=1), "other": measured("b.onnx", 10)}
    for name, subject in made.items():
        (tmp_path / f"{name}.json").write_text(record(subject).to_json())
    elsewhere = BenchmarkRecord((OLD,), record(OLD).plan, replace(ENVIRONMENT, cpu="Another CPU"))
    (tmp_path / "elsewhere.json").write_text(elsewhere.to_json())
    return tmp_path


def test_records_against_records(records: Path) -> None:
    junit = records / "out.xml"
    words = ("--baseline", str(records / "old.json"), "--max-slowdown", "5%", "--max-size", "2kB")
    assert _run(str(records / "same.json"), *words)[0] == 0
    error, out = _run(str(records / "new.json"), *words, "--junit", str(junit))
    assert isinstance(error, GateFailed)
    assert str(error).startswith("1 of 2 gates failed, the first: a.onnx in ort: 1.30x the CPU time")
    assert [line[:6] for line in out.splitlines()] == ["FAILED", "passed"]
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["slowdown", "size"]
    error, _ = _run(str(records / "new.json"), *words, "--junit", str(junit))
    assert "add --force" in str(error)


def test_the_result_as_json(records: Path) -> None:
    error, out = _run(str(records / "old.json"), "--max-size", "0.5kB", "--json")
    assert isinstance(error, GateFailed)
    told = json.loads(out)
    assert told["passed"] is False
    assert told["gates"][0] == {
        "subject": "a.onnx in ort", "name": "size", "state": "failed", "sentence": "1,000 bytes, allowed 500",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("old.json",), "nothing to check: give --max-slowdown"),
        (("old.json", "--max-slowdown", "5%"), "--max-slowdown needs --baseline"),
        (("old.json", "--baseline", "old.json", "--max-size", "1kB"), "--baseline is for --max-slowdown"),
        (("old.json", "--max-size", "much"), "'much' is not a number of bytes, such as 200kB"),
        (("old.json", "new.json", "--max-size", "1kB"), "give either model files or one benchmark record"),
        (("old.json", "--max-drop", "1%"), "give the file to check its drop"),
        (
            ("new.json", "--baseline", "other.json", "--max-slowdown", "5%"),
            "the baseline has no a.onnx in ort: it has b.onnx",
        ),
        (
            ("new.json", "--baseline", "elsewhere.json", "--max-slowdown", "5%"),
            "measured on Another CPU, this on Test CPU",
        ),
        (("new.json", "--baseline", "none.json", "--max-slowdown", "5%"), "none.json: No such file"),
    ],
)
def test_wrong_calls_are_refused(
    records: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(records)
    error, out = _run(*words)
    assert error != 0
    assert said in f"{error} {out}"


def test_files_are_measured_side_by_side(engine: Path) -> None:
    (engine / "old").mkdir()
    new, old = fake_model(engine, "a.onnx"), fake_model(engine / "old", "a.onnx")
    words = ("--runtime", "fake", "--seconds", "0.05", "--rounds", "6", "--max-slowdown", "100000%")
    result, out = _run(str(new.path), "--baseline", str(old.path), *words)
    assert result == 0
    assert "a.onnx in fake: slowdown: " in out
    crashing = fake_model(engine, "a.onnx", "crash")
    error, out = _run(str(crashing.path), "--baseline", str(old.path), *words)
    assert isinstance(error, GateFailed)
    assert "it could not be measured: " in out

"""`edgedl benchmark` on engines that fail in every way, and when it is interrupted: the others finish, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from edgedl.measure import BenchmarkRecord
from made_up_engine import fake_model

FAILURES = {
    "crash": "the engine's process crashed with SIGABRT",
    "hang": "the engine hung: it took more than 4 s and was ended",
    "killed": "the system killed the engine's process, as it does when memory runs out",
    "late": "the engine's process crashed with SIGABRT",
    "memory": "fake 1.0 could not run the model: Unable to allocate 1.00 EiB",
    "nan": "fake 1.0 gave NaN in the output 'y'",
    "refuse": "no such operator: Foo",
}
FEW = ("--runtime", "fake", "--runs", "60", "--seconds", "0", "--rounds", "6")


@pytest.fixture
def benchmark(command: Run, engine: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Measures models of the made-up engine, which `engine` has installed for child processes."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return command("benchmark", *words, *FEW, cwd=engine, PYTHONPATH=os.environ["PYTHONPATH"])

    return run


def test_failures_are_rows_with_their_reasons_and_the_others_finish(
    benchmark: Callable[..., subprocess.CompletedProcess[str]], command: Run, engine: Path
) -> None:
    names = [fake_model(engine, f"{what}.onnx", what).path.name for what in (*FAILURES, "ok", "slow")]
    done = benchmark(*names, "--timeout", "4", "-o", "record.json")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[2 : 2 + len(names)]}
    for what, reason in FAILURES.items():
        assert "failed" in rows[f"{what}.onnx"]
        (warning,) = [line for line in done.stderr.splitlines() if line.startswith(f"Warning: {what}.onnx in fake: ")]
        assert reason in warning
    assert "failed" not in rows["ok.onnx"] + rows["slow.onnx"]
    assert "Traceback" not in done.stderr
    made = BenchmarkRecord.open(engine / "record.json")
    assert [subject.source for subject in made.finished] == ["ok.onnx", "slow.onnx"]
    assert [len(subject.rounds) for subject in made.finished] == [6, 6]
    (late,) = [subject for subject in made.subjects if subject.source == "late.onnx"]
    assert 0 < len(late.rounds) < 6
    shown = command("report", "record.json", "-o", "report.md", cwd=engine)
    assert shown.returncode == 0, shown.stderr
    text = (engine / "report.md").read_text().replace("\\", "")
    assert all(reason in text for reason in FAILURES.values())


def test_an_engine_that_fails_alone_is_an_error(
    benchmark: Callable[..., subprocess.CompletedProcess[str]], engine: Path
) -> None:
    fake_model(engine, "memory.onnx", "memory")
    done = benchmark("memory.onnx", "-o", "record.json")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "edgedl: memory.onnx in fake: memory.onnx: the engine needs more memory than its limit of 2.0 GB"
    )
    assert "Unable to allocate" in done.stderr
    assert not list(engine.glob("record.json*"))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_measured_before_an_interruption_is_kept(
    benchmark: Callable[..., subprocess.CompletedProcess[str]], engine: Path, stop: signal.Signals
) -> None:
    fake_model(engine, "slow.onnx", "slow")
    words = [Path(sys.executable).with_name("edgedl"), "benchmark", "slow.onnx", *FEW, "-o", "record.json"]
    process = subprocess.Popen(words, cwd=engine, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = engine / "record.json.journal"
    while process.poll() is None and not (journal.exists() and len(journal.read_text().splitlines()) >= 3):
        time.sleep(0.02)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    if stop != signal.SIGKILL:
        assert process.returncode == 130
        assert "what was measured is kept in record.json.journal; the same command goes on from there" in said
    assert [path.name for path in engine.glob("record.json*")] == [journal.name]
    done = benchmark("slow.onnx", "-o", "record.json")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in engine.glob("record.json*")] == ["record.json"]
    (subject,) = BenchmarkRecord.open(engine / "record.json").finished
    assert len(subject.rounds) == 6
    assert subject.doubts == ("its first rounds are of a run that was interrupted, in another process",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "old.json is not JSON"),
        ('{"kind": "mlperf"}', "old.json is not a benchmark record (kind 'mlperf', expected 'edgedl-benchmark')"),
        (
            '{"kind": "edgedl-benchmark", "schema_version": 1}',
            "old.json has schema version 1, expected 2: measure again",
        ),
    ],
)
def test_old_and_foreign_records_are_refused(command: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "old.json").write_text(text)
    (tmp_path / "net.onnx").write_text("ok")
    for words in (
        ("report", "old.json"),
        ("check", "net.onnx", "--baseline", "old.json", "--max-slowdown", "5%"),
    ):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
        assert not (tmp_path / "report.html").exists()

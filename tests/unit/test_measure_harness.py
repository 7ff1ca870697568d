"""The harness on an engine made for the test, through real child processes: no claim is made about times."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgedl import tensorfile
from edgedl.artifact import Artifact, golden_path
from edgedl.cli.benchmark import command
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, OutputExists, Unavailable, UnknownName
from edgedl.measure import (
    BenchmarkRecord,
    Failure,
    InputChoice,
    Measured,
    Plan,
    Subject,
    describe,
    journal,
    measure,
    processors,
    runner,
    subjects_of,
    warnings,
)  # fmt: skip
from edgedl.place import HERE
from made_up_engine import fake_model

PLAN = Plan(runs=12, seconds=0.0, rounds=6, warmup_runs=1, warmup_seconds=0.0, timeout=5.0)


def _measure(sources: list[Artifact], plan: Plan = PLAN, threads: tuple[int, ...] = (1,)) -> BenchmarkRecord:
    subjects = subjects_of(sources, ["fake"], threads=threads)
    return measure(subjects, InputChoice(subjects), plan, lambda done, total: None)


def test_every_subject_gets_its_share_of_every_round(engine: Path) -> None:
    made = _measure([fake_model(engine, "a.onnx"), fake_model(engine, "b.onnx")], threads=(1, 2))
    assert [s.label for s in made.subjects] == [
        f"{name} in fake, {threads}" for name in ("a.onnx", "b.onnx") for threads in ("1 thread", "2 threads")
    ]
    for subject in made.finished:
        assert [len(r.wall_ns) for r in subject.rounds] == [2] * 6
        assert (subject.engine, subject.inputs, subject.input_shapes) == ("fake 1.0", "seeded", {"x": (1, 2)})
        assert subject.memory
        assert 0 < subject.memory.base <= subject.memory.engine <= subject.memory.peak
    assert len(made.finished) == 4
    for turn in range(6):
        assert {subject.rounds[turn].position for subject in made.subjects} == {0, 1, 2, 3}


def test_the_order_is_random_and_repeats_with_the_seed(engine: Path) -> None:
    models = [fake_model(engine, "a.onnx"), fake_model(engine, "b.onnx")]
    orders = [[r.position for r in _measure(models).subjects[0].rounds] for _ in range(2)]
    assert orders[0] == orders[1]
    assert set(orders[0]) == {0, 1}


def test_crash_hang_and_refusal_are_told_and_the_others_finish(engine: Path) -> None:
    models = [fake_model(engine, f"{what}.onnx", what) for what in ("crash", "hang", "refuse", "nan", "ok")]
    plan = Plan(runs=6, seconds=0, rounds=6, warmup_runs=1, warmup_seconds=0, timeout=3)
    made = _measure(models, plan)
    said = [subject.failure.message if subject.failure else "" for subject in made.subjects]
    assert "crashed with SIGABRT" in said[0]
    assert "took more than 3 s" in said[1]
    assert "no such operator: Foo" in said[2]
    assert said[3] == "fake 1.0 gave NaN in the output 'y'"
    assert [subject.source for subject in made.finished] == ["ok.onnx"]
    assert BenchmarkRecord.from_json(made.to_json(), "x") == made


@pytest.mark.parametrize(("factor", "agrees"), [(2, True), (3, False)])
def test_an_engine_is_held_against_the_golden_outputs(engine: Path, factor: int, agrees: bool) -> None:
    model = fake_model(engine, "a.onnx")
    x = np.ones((3, 2), np.float32)
    golden_path(model.path).write_bytes(tensorfile.encode({"input/x": x, "output/y": factor * x}))
    made = _measure([model])
    (subject,) = made.finished
    assert subject.agrees is agrees
    told = [sentence for sentence in warnings(made) if "does not compute what the artifact was proven to" in sentence]
    assert len(told) == (not agrees)
    assert BenchmarkRecord.from_json(made.to_json(), "x") == made


@pytest.mark.parametrize(
    ("rms", "steps", "agrees"), [(None, None, True), (0.02, None, False), (0.02, 2.0, True), (0.02, 3.0, False)]
)
def test_rounded_outputs_may_differ_by_two_steps(rms: float | None, steps: float | None, agrees: bool) -> None:
    subject = Measured("a", "a.onnx", "onnx", "fake", "cpu", 1, golden_rms=rms, golden_steps=steps)
    assert subject.agrees is agrees


def test_throughput_runs_all_streams_at_once(engine: Path) -> None:
    plan = replace(PLAN, mode="throughput", streams=2)
    (subject,) = _measure([fake_model(engine, "a.onnx")], plan).finished
    assert [r.runs for r in subject.rounds] == [4] * 6
    assert all(r.seconds > 0 and r.seconds >= r.wall_ns[-1] / 1e9 for r in subject.rounds)


def test_every_cold_round_is_a_start_in_a_new_process(engine: Path) -> None:
    made = _measure(
        [fake_model(engine, "a.onnx"), fake_model(engine, "crash.onnx", "crash")], replace(PLAN, mode="cold")
    )
    (subject,) = made.finished
    assert len(subject.starts) == 6
    for start, taken in zip(subject.starts, subject.rounds, strict=True):
        assert start.evicted
        assert start.process > 0
        assert taken.wall_ns.tolist() == [round(1e9 * (start.imported + start.load + start.first))]
    assert "crashed with SIGABRT" in (made.subjects[1].failure or Failure("", "")).message


def test_sustained_subjects_come_one_after_the_other(engine: Path) -> None:
    models = [fake_model(engine, "a.onnx"), fake_model(engine, "b.onnx")]
    first, second = _measure(models, replace(PLAN, mode="sustained")).finished
    assert first.rounds[-1].at < second.rounds[0].at
    assert [r.at for r in first.rounds] == sorted(r.at for r in first.rounds)


def test_options_and_affinity_reach_the_engine_and_the_record(engine: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    subjects = subjects_of([fake_model(engine, "a.onnx")], ["fake"], options={"speed": "slow"}, affinity=(cpu,))
    (subject,) = measure(subjects, InputChoice(subjects), PLAN, lambda done, total: None).finished
    assert subject.engine == f"fake 1.0 {{'speed': 'slow'}} [{cpu}]"
    assert (subject.options, subject.affinity) == ({"speed": "slow"}, (cpu,))


def test_all_subjects_of_a_round_run_on_one_processor_which_changes(engine: Path) -> None:
    found = _measure([fake_model(engine, "a.onnx"), fake_model(engine, "b.onnx")], replace(PLAN, rounds=12)).finished
    one, other = ([r.processor for r in subject.rounds] for subject in found)
    assert one == other == [processors.of_round(number, PLAN.seed) for number in range(12)]


@pytest.mark.parametrize("change", [{"threads": 2}, {"affinity": (0,)}, {"device": "cuda"}])
def test_other_subjects_are_left_where_the_system_puts_them(engine: Path, change: dict[str, Any]) -> None:
    (subject,) = subjects_of([fake_model(engine, "a.onnx")], ["fake"])
    changed, stack = replace(subject, **change), contextlib.ExitStack()
    assert runner.Runner(changed, InputChoice([changed]), PLAN, stack, HERE, describe(changed), 0).processor() is None


def test_an_unknown_option_is_refused(engine: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown option of fake 'sped'.*did you mean 'speed'"):
        subjects_of([fake_model(engine, "a.onnx")], ["fake"], options={"sped": "slow"})


def test_progress_counts_every_turn(engine: Path) -> None:
    seen: list[tuple[int, int]] = []
    subjects = subjects_of([fake_model(engine, "a.onnx")], ["fake"])
    measure(subjects, InputChoice(subjects), PLAN, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 7) for done in range(1, 8)]


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one subject"):
        measure([], InputChoice([]), PLAN, lambda done, total: None)


def test_files_of_one_name_are_told_apart_by_their_folder(engine: Path) -> None:
    (engine / "other").mkdir()
    labels = [
        s.label for s in subjects_of([fake_model(engine, "a.onnx"), fake_model(engine / "other", "a.onnx")], ["fake"])
    ]
    assert labels == [f"{engine / 'a.onnx'} in fake", f"{engine / 'other' / 'a.onnx'} in fake"]


@pytest.mark.parametrize(
    ("runtimes", "threads", "kind", "said"),
    [
        (["fke"], (1,), UnknownName, "did you mean 'fake'"),
        (["torch"], (1,), InvalidInput, "is a onnx model, which torch cannot load"),
        (["fake"], (0,), InvalidInput, "threads=0: expected 1 or more"),
    ],
)
def test_wrong_engines_and_threads_are_refused(
    engine: Path, runtimes: list[str], threads: tuple[int, ...], kind: type[EdgedlError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        subjects_of([fake_model(engine, "a.onnx")], runtimes, threads=threads)


def test_auto_and_its_name_are_one_subject(engine: Path) -> None:
    subjects = subjects_of([fake_model(engine, "a.onnx")], ["fake", "fake"])
    assert [type(s) for s in subjects] == [Subject]


def _cli(engine: Path, *words: str, what: str = "ok") -> tuple[object, str, str]:
    model = fake_model(engine, "m.onnx", what)
    options = ["--runtime", "fake", "--runs", "6", "--seconds", "0", "--rounds", "6"]
    done = CliRunner().invoke(command, [str(model.path), *options, *words])
    return done.exception or done.exit_code, done.stdout, done.stderr


def test_the_command_prints_a_table(engine: Path) -> None:
    result, out, err = _cli(engine, "--threads", "1,2")
    assert result == 0
    assert out.splitlines()[0].split()[:2] == ["artifact", "engine"]
    assert out.count("fake 1.0") == 2
    assert any("m.onnx in fake, 2 threads" in line for line in out.splitlines()[4:])
    assert out.splitlines()[-1] == "Not given for 6 runs: p90 needs 64, p95 needs 130, p99 needs 662 (--runs)"
    assert "Measuring" not in err


def test_the_command_prints_json_and_nothing_else(engine: Path) -> None:
    result, out, _ = _cli(engine, "--json")
    assert result == 0
    assert json.loads(out)["subjects"][0]["source"] == "m.onnx"


def test_the_command_writes_a_record_once(engine: Path) -> None:
    output = engine / "record.json"
    assert _cli(engine, "-o", str(output))[0] == 0
    assert BenchmarkRecord.open(output).finished
    refused, _, _ = _cli(engine, "-o", str(output))
    assert "add --force" in str(refused)
    assert _cli(engine, "-o", str(output), "--force")[0] == 0
    assert [path.name for path in engine.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("what", "device", "kind"),
    [("crash", "cpu", EngineFailed), ("refuse", "cpu", EngineFailed), ("ok", "cuda", Unavailable)],
)
def test_a_command_in_which_all_failed_raises_the_reason(
    engine: Path, what: str, device: str, kind: type[EdgedlError]
) -> None:
    result, out, _ = _cli(engine, "--device", device, what=what)
    assert type(result) is kind
    assert str(result).startswith("m.onnx in fake: ")
    assert out == ""


def _interrupted_at(monkeypatch: pytest.MonkeyPatch, turn: int) -> list[int]:
    """Ctrl-C at the turn of this number; the list gets the position of each turn that was taken."""
    taken: list[int] = []
    whole = runner.Runner.round

    def round_(self: runner.Runner, position: int) -> None:
        if len(taken) == turn:
            raise KeyboardInterrupt
        taken.append(position)
        whole(self, position)

    monkeypatch.setattr(runner.Runner, "round", round_)
    return taken


def test_a_command_interrupted_before_the_first_round_leaves_nothing(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted_at(monkeypatch, 0)
    before = set(engine.iterdir()) | {engine / "m.onnx"}
    result, _, _ = _cli(engine, "-o", str(engine / "new" / "record.json"))
    assert isinstance(result, SystemExit | KeyboardInterrupt | int)
    assert set(engine.iterdir()) == before


def _stopped(engine: Path, output: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> BenchmarkRecord:
    """A measurement that was interrupted in its fourth round, and then gone on with."""
    with monkeypatch.context() as patch:
        _interrupted_at(patch, 3)
        _cli(engine, "-o", str(output), *words)
    assert [path.name for path in engine.glob("*.json*")] == ["record.json.journal"]
    taken = _interrupted_at(monkeypatch, 100)
    assert _cli(engine, "-o", str(output), *words)[0] == 0
    assert len(taken) == 3
    assert [path.name for path in engine.glob("*.json*")] == ["record.json"]
    return BenchmarkRecord.open(output)


def test_an_interrupted_command_goes_on_from_its_last_round(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (subject,) = _stopped(engine, engine / "record.json", monkeypatch).finished
    assert len(subject.rounds) == 6
    assert subject.doubts == ("its first rounds are of a run that was interrupted, in another process",)


def test_the_journal_of_another_measurement_is_refused(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = str(engine / "record.json")
    with monkeypatch.context() as patch:
        _interrupted_at(patch, 3)
        _cli(engine, "-o", output)
    refused, _, _ = _cli(engine, "-o", output, "--rounds", "8")
    assert "record.json.journal is of another measurement (its plan differ)" in str(refused)
    assert "add --force to begin anew" in str(refused)
    assert _cli(engine, "-o", output, "--rounds", "8", "--force")[0] == 0
    assert len(BenchmarkRecord.open(Path(output)).subjects[0].rounds) == 8


@pytest.mark.parametrize("mode", ["latency", "cold", "sustained"])
def test_a_journal_brings_back_what_was_measured(engine: Path, mode: str) -> None:
    subjects = subjects_of([fake_model(engine, "a.onnx"), fake_model(engine, "crash.onnx", "crash")], ["fake"])
    plan, path, feeds_of = replace(PLAN, mode=mode), engine / "j", InputChoice(subjects)
    with journal.kept_in(path, subjects, plan) as kept:
        made = measure(subjects, feeds_of, plan, lambda done, total: None, journal=kept)
        lines = path.read_text()
    assert not path.exists()
    path.write_text(lines + "torn tail without a checksum")
    with journal.kept_in(path, subjects, plan) as kept:
        again = measure(subjects, feeds_of, plan, lambda done, total: None, journal=kept)
    assert [s.rounds for s in again.subjects] == [s.rounds for s in made.subjects]
    assert [s.starts for s in again.subjects] == [s.starts for s in made.subjects]
    assert again.subjects[1].failure == made.subjects[1].failure


def test_the_journal_of_another_target_is_refused(engine: Path) -> None:
    subjects, path = subjects_of([fake_model(engine, "a.onnx")], ["fake"]), engine / "j"
    with pytest.raises(KeyboardInterrupt), journal.kept_in(path, subjects, PLAN, target="ssh://a") as kept:
        kept.append([{}])
        raise KeyboardInterrupt
    with (
        pytest.raises(InvalidInput, match=r"another measurement \(its target differ\)"),
        journal.kept_in(path, subjects, PLAN, target="ssh://b"),
    ):
        pass


def test_what_is_no_journal_is_refused(engine: Path) -> None:
    subjects = subjects_of([fake_model(engine, "a.onnx")], ["fake"])
    path = engine / "j"
    text = json.dumps(["other"])
    path.write_text(f"{zlib.crc32(text.encode()):08x} {text}\n")
    with pytest.raises(InvalidInput, match="j is of no measurement"), journal.kept_in(path, subjects, PLAN):
        pass


@pytest.mark.parametrize("text", ["0", "1,x", "", "-1", "²", "99999999999999999999"])
def test_wrong_threads_are_a_usage_error(engine: Path, text: str) -> None:
    result, _, err = _cli(engine, "--threads", text)
    assert "is not a list of numbers of threads" in err
    assert isinstance(result, SystemExit)


def test_importing_measure_loads_numpy_and_no_engine() -> None:
    import subprocess
    import sys

    code = "import sys, edgedl.measure, edgedl.report; print([m for m in ('torch', 'onnx', 'onnxruntime', 'ai_edge_litert') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_journal_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "journal").symlink_to("/dev/full")
    with pytest.raises(OutputExists, match=r"cannot write .*journal: No space left on device; choose another -o"):
        journal.Journal(tmp_path / "journal", {}, ())
    assert list(tmp_path.iterdir()) == []
    kept = journal.Journal(tmp_path / "journal", {}, ())
    kept.append({"block": 1})
    before = (tmp_path / "journal").read_bytes()
    with Path("/dev/full").open("wb", buffering=0) as full:
        kept._file = full
        with pytest.raises(OutputExists, match="No space left on device"):
            kept.append({"block": 2})
    assert (tmp_path / "journal").read_bytes() == before

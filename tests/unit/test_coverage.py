"""benchmarks/coverage.py, whose verdicts must not depend on edgedl's own."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
sys.path.append(BENCHMARKS)

import _forked  # noqa: E402 - found beside the script
import _independent  # noqa: E402
import _journal  # noqa: E402
import coverage  # noqa: E402
from coverage_catalogue import classics, operators, transformers_configurations  # noqa: E402
from coverage_catalogue.case import Case, Function, Input  # noqa: E402

LIMITS = _forked.Limits(seconds=60)


def job(make: Any, *shape: int | str, dynamic: tuple[str, ...] = (), format: str = "onnx") -> coverage.Job:
    return coverage.Job(Case("made", "net", make, {"x": Input(shape)}), dynamic, format)


def test_the_catalogue_is_as_large_as_promised_and_every_key_is_its_own() -> None:
    assert len(operators.cases()) >= 150
    assert len(classics.cases()) >= 40
    assert len(transformers_configurations.cases()) >= 35
    keys = [entry.key for entry in coverage.jobs(("operators", "classics", "transformers"))]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("case", [*operators.cases(), *classics.cases()], ids=lambda case: f"{case.group}-{case.name}")
def test_every_case_runs_at_other_lengths_and_is_the_same_each_time(case: Case) -> None:
    feeds = case.draw(0, {"batch": 5, "time": 9}, 3.0)
    first, second = (_independent.eager(case.module(), feeds) for _ in range(2))
    assert first
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_right_file_is_right() -> None:
    linear = next(case for case in operators.cases() if case.name == "linear")
    assert coverage.attempt(coverage.Job(linear, ("batch",), "onnx"))["verdict"] == "right"


def test_a_proven_file_that_is_wrong_elsewhere_is_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight is changed after the proof."""
    export = coverage.edgedl.export

    def altered(*words: Any) -> Any:
        (artifact,) = export(*words)
        model = onnx.load(artifact.path)
        stored = next(t for t in model.graph.initializer if len(t.dims) == 2)
        values = onnx.numpy_helper.to_array(stored).copy()
        values[0, 0] += 0.5
        stored.CopyFrom(onnx.numpy_helper.from_array(values, stored.name))
        onnx.save(model, artifact.path)
        return [artifact]

    monkeypatch.setattr(coverage.edgedl, "export", altered)
    linear = next(case for case in operators.cases() if case.name == "linear")
    row = coverage.attempt(coverage.Job(linear, (), "onnx"))
    assert row["verdict"] == "WRONG"
    assert "relative error" in row["sentence"]


def test_a_refusal_keeps_its_sentence_and_says_whether_it_names_a_line() -> None:
    row = coverage.attempt(job(lambda: Function(lambda x: x[: int(x.sum())]), 4, 6))
    assert row["verdict"] == "refused"
    assert coverage.names_line(row["sentence"])
    assert coverage.cause(row["sentence"]) == "not traceable"
    assert "test_coverage.py" in row["sentence"]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda a: a, False),
        (lambda a: a * (1 + 1e-6), False),
        (lambda a: np.concatenate([a[:1], a[1:] * 1.01]), True),
        (lambda a: np.where(a == a.max(), np.nan, a), True),
        (lambda a: a[:, :2], True),
    ],
)
def test_the_smallest_part_of_an_output_counts(change: Any, wrong: bool) -> None:
    want = np.array([[640.0, 320.0, 77.0], [0.9, 0.1, 0.5]], np.float32)
    assert bool(_independent.wrong(change(want).astype(np.float32), want)) is wrong


def test_a_crash_a_hang_and_too_much_memory_are_faults(tmp_path: Path) -> None:
    work = {
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "hang": lambda: time.sleep(60),
        "raise": lambda: 1 // 0,
        "fine": lambda: {"answer": 1},
    }
    told = dict(_forked.results(work.items(), 4, _forked.Limits(seconds=1), tmp_path))
    assert told["crash"]["fault"] == "crashed: SIGSEGV"
    assert told["hang"]["fault"] == "took more than 1 s"
    assert told["raise"]["fault"].startswith("ZeroDivisionError")
    assert told["fine"]["answer"] == 1
    large = {"large": lambda: [np.ones(1 << 27), time.sleep(60)]}
    told = dict(
        _forked.results(large.items(), 1, _forked.Limits(30, _forked._resident(os.getpid()) + (1 << 28)), tmp_path)
    )
    assert "MiB" in told["large"]["fault"]


def test_children_end_with_a_caller_that_is_interrupted(tmp_path: Path) -> None:
    work = {"long": lambda: time.sleep(60), "short": lambda: {"process": os.getpid()}}
    running = _forked.results(work.items(), 2, LIMITS, tmp_path)
    assert next(running)[0] == "short"
    (child,) = running.gi_frame.f_locals["running"]
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.process, 0)


def test_a_run_continues_where_it_stopped_and_fills_its_page(tmp_path: Path) -> None:
    journal, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    page.write_text("# Coverage\n<!-- coverage -->\nold\n<!-- end of coverage -->\nafter\n")
    _journal.append(journal, row := {**_row("operators/relu/static/onnx"), "sentence": "kept"})
    words = [
        str(journal),
        "--group",
        "operators",
        "--only",
        "/relu/(static|batch)/onnx",
        "--workers",
        "1",
        "--write",
        str(page),
    ]
    done = CliRunner().invoke(coverage.main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [entry["key"] for entry in rows] == ["operators/relu/static/onnx", "operators/relu/batch/onnx"]
    assert rows[0]["sentence"] == row["sentence"]
    assert "| operators | onnx | 2 | 2 (100.0%) | 0 | 0 | 0 |" in page.read_text()
    assert "old" not in page.read_text()
    assert page.read_text().endswith("<!-- end of coverage -->\nafter\n")


def _row(key: str) -> dict[str, Any]:
    group, _, axes, format = key.split("/")
    return {
        "key": key,
        "group": group,
        "axes": axes,
        "format": format,
        "verdict": "right",
        "sentence": "",
        "seconds": 1.0,
    }


def test_a_torn_line_of_the_journal_is_skipped(tmp_path: Path) -> None:
    journal = tmp_path / "rows.jsonl"
    _journal.append(journal, _row("a/b/c/d"))
    with journal.open("a") as file:
        file.write('{"key": "torn')
    assert list(_journal.read(journal)) == ["a/b/c/d"]

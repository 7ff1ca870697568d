from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_measure_samples import failed, measured, record, rounds

from edgedl.errors import InvalidInput
from edgedl.measure import BenchmarkRecord, Measured, Plan, Round, verdict, warnings
from edgedl.measure.samples import unpack
from edgedl.report import build, render

RECORD = record(measured("a.onnx", 10), measured("b.tflite", 30, input_shapes=None), failed("c.onnx"))
DATA = json.loads(RECORD.to_json())
SMALL = json.loads(
    BenchmarkRecord(
        (measured("a.onnx", 10, rounds=rounds(10, count=6, runs=2)), failed("c.onnx")),
        Plan(rounds=6),
        RECORD.environment,
    ).to_json()
)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.integers(10**18, 10**30), st.just("\ud800"),
)  # fmt: skip


def test_a_record_survives_json() -> None:
    assert BenchmarkRecord.from_json(RECORD.to_json(), "x") == RECORD


def test_json_keeps_every_sample_and_tells_the_figures() -> None:
    told = DATA["subjects"][0]["rounds"][3]
    assert unpack(told["samples"], told["runs"]).tolist() == list(RECORD.subjects[0].rounds[3].wall_ns)
    summary = RECORD.summaries[0]
    assert summary and DATA["summary"][0]["median_ns"]["value"] == summary.median_ns.value
    assert DATA["summary"][0]["percentiles"][3] == {"level": 0.99, "needed": 662, "value": None, "bound": None}
    assert DATA["summary"][2] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[1]", "a list, expected kind 'edgedl-benchmark'"),
        ('{"kind": "other"}', "kind 'other', expected 'edgedl-benchmark'"),
        ('{"kind": "edgedl-benchmark", "schema_version": 1}', "schema version 1, expected 2: measure again"),
        ('{"kind": "edgedl-benchmark", "schema_version": 2}', "record has no 'subjects'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_foreign_and_old_json_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"x\.json") as caught:
        BenchmarkRecord.from_json(text, "x.json")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.json: No such file"):
        BenchmarkRecord.open(tmp_path / "none.json")


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in _places(item, (*path, key)))]


PLACES = [place for place in _places(SMALL) if place and place[0] != "summary"]


def _mutated(place: tuple[Any, ...], junk: Any, drop: bool) -> str:
    data = json.loads(json.dumps(SMALL))
    target = data
    for key in place[:-1]:
        target = target[key]
    if drop:
        del target[place[-1]]
    else:
        target[place[-1]] = junk
    return json.dumps(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), JUNK, st.booleans())
def test_a_mutated_record_is_whole_or_refused(place: tuple[Any, ...], junk: Any, drop: bool) -> None:
    """What is accepted can be reported; what is not raises InvalidInput and nothing else."""
    try:
        made = BenchmarkRecord.from_json(_mutated(place, junk, drop), "x.json")
    except InvalidInput as error:
        assert "x.json" in str(error)
        return
    page = render(build([], made), "html")
    assert page.encode().startswith(b"<!doctype html>")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_text_is_whole_or_refused(at: int, byte: int) -> None:
    raw = bytearray(json.dumps(SMALL).encode())
    raw[at % len(raw)] = byte
    try:
        made = BenchmarkRecord.from_json(raw.decode(errors="replace"), "x.json")
    except InvalidInput as error:
        assert "x.json" in str(error)
        return
    assert made.subjects


@pytest.mark.parametrize("field", ["rounds", "runs", "seconds"])
def test_a_plan_that_measures_nothing_is_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        Plan(**{field: -1})


def test_verdicts_say_faster_slower_or_neither() -> None:
    slow, fast = measured("slow.onnx", 100), measured("fast.onnx", 50)
    assert "fast.onnx in ort is 2.0" in verdict(fast, slow)
    assert "faster than slow.onnx in ort (95 % interval 1.9" in verdict(fast, slow)
    assert "slow.onnx in ort is 2.0" in verdict(slow, fast) and "slower than fast.onnx" in verdict(slow, fast)
    again = measured("again.onnx", 100, rounds=rounds(100.000001))
    assert verdict(again, slow).startswith("no difference could be seen between again.onnx in ort and slow.onnx in ort")
    assert "smallest visible: " in verdict(again, slow)


def test_what_two_processes_of_one_file_may_differ_by_is_no_difference() -> None:
    base = measured("a.onnx", 100)
    assert verdict(_slower(base, 1.015), base).startswith("no difference could be seen")
    assert "is 1.040x slower than" in verdict(_slower(base, 1.04), base)


def _slower(subject: Measured, factor: float) -> Measured:
    slowed = [Round.of(0, (factor * r.wall_ns).astype(int), r.cpu_seconds, 0) for r in subject.rounds]
    return replace(subject, rounds=tuple(slowed))


def _busy(subject: Measured, share: float) -> Measured:
    return replace(subject, rounds=tuple(replace(r, cpu_seconds=r.cpu_seconds * share) for r in subject.rounds))


def test_warnings_tell_of_failures_and_of_a_busy_machine() -> None:
    noisy = measured("noisy.onnx", 10, rounds=rounds(10, noise=0.5))
    made = record(measured("calm.onnx", 10), _busy(measured("starved.onnx", 10), 0.5), noisy, failed("dead.onnx"))
    starved, rough, dead = warnings(made)
    assert (
        starved
        == "starved.onnx in ort: the machine was too busy: it ran in only 50% of the time, believe its CPU time only"
    )
    assert rough.startswith(
        "noisy.onnx in ort: the machine was too busy to believe small differences: its rounds differ by "
    )
    assert dead == "dead.onnx in ort: the process crashed with SIGSEGV"

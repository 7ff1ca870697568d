from __future__ import annotations

from dataclasses import replace

from test_measure_samples import evidence, failed, measured, record, rounds

from edgedl.measure import Measured
from edgedl.report import Row, choose
from edgedl.report.evidence import evidence_of

SIZES = {"fp32": 40_000, "w8a8": 10_000, "fp16": 20_000}


def row(
    subject: Measured, scheme: str | None = "fp32", drop: float = 0.0, passed: bool = True, known: bool = True
) -> Row:
    found = evidence_of(evidence(scheme or "", drop, passed)) if known else None
    summary = record(subject).summaries[0]
    return Row(subject.source, subject.format, scheme, SIZES.get(scheme or ""), None, found, subject, summary)


FLOAT = row(measured("net.onnx", 100))
SMALL = row(measured("net.w8a8.tflite", 40), "w8a8", drop=0.002)


def test_the_faster_one_is_shipped_with_its_numbers() -> None:
    choice = choose([FLOAT, SMALL])
    assert choice.row is SMALL
    assert choice.sentence.startswith("Ship net.w8a8.tflite in LiteRT: 2.")
    assert "x faster than net.onnx in ONNX Runtime (95 % interval 2." in choice.sentence
    assert choice.sentence.endswith(", 4.0x smaller, accuracy 0.987 (drop 0.002)")


def test_a_slower_int8_is_not_shipped() -> None:
    choice = choose([FLOAT, row(measured("net.w8a8.onnx", 200), "w8a8")])
    assert choice.row is FLOAT
    assert choice.sentence.startswith(
        "Ship net.onnx in ONNX Runtime: nothing that is proven within the budget is faster; 40.0 kB, accuracy 0.989"
    )


def test_of_two_as_fast_the_smaller_is_shipped_and_no_speed_is_claimed() -> None:
    same = row(measured("net.w8a8.onnx", 100, rounds=rounds(100.000001)), "w8a8")
    choice = choose([FLOAT, same])
    assert choice.row is same
    assert (
        "nothing is faster: no difference to net.onnx in ONNX Runtime could be seen (smallest visible: "
        in choice.sentence
    )
    assert "x faster than" not in choice.sentence


def test_the_only_proven_one_is_shipped_though_it_is_slower_and_that_is_told() -> None:
    slow = row(measured("net.w8a8.onnx", 200), "w8a8")
    choice = choose([replace(FLOAT, evidence=None), slow])
    assert choice.row is slow
    assert "nothing is faster than net.onnx in ONNX Runtime: it is 2.0" in choice.sentence
    assert "x slower (95 % interval " in choice.sentence


def test_nothing_is_shipped_without_evidence() -> None:
    choice = choose([row(measured("net.onnx", 100), known=False)])
    assert choice.row is None
    assert choice.sentence.startswith("Ship nothing yet: no artifact is proven, for none has evidence beside it")


def test_nothing_is_shipped_that_failed_its_gate() -> None:
    choice = choose([row(measured("net.onnx", 100), passed=False)])
    assert choice.row is None
    assert choice.sentence == "Ship nothing yet: no artifact is proven; net.onnx: batch=1: too far off"


def test_the_budget_is_kept() -> None:
    lossy = row(measured("net.w8a8.onnx", 10), "w8a8", drop=0.05)
    assert choose([FLOAT, lossy], max_drop=0.01).row is FLOAT
    assert choose([FLOAT, lossy], max_drop=0.06).row is lossy
    alone = choose([lossy], max_drop=0.01)
    assert alone.row is None
    assert (
        "loses more than the budget of 0.01; the least is lost by net.w8a8.onnx, accuracy 0.939 (drop 0.050)"
        in alone.sentence
    )


def test_a_failed_engine_is_never_shipped() -> None:
    dead = replace(row(measured("net.w8a8.tflite", 1), "w8a8"), measured=failed("net.w8a8.tflite"), summary=None)
    assert choose([FLOAT, dead]).row is FLOAT


def test_without_measurements_the_smallest_is_named_and_no_speed() -> None:
    rows = [replace(item, measured=None, summary=None) for item in (FLOAT, SMALL)]
    choice = choose(rows)
    assert choice.row is rows[1]
    assert choice.sentence == "Ship net.w8a8.tflite: 10.0 kB, accuracy 0.987 (drop 0.002); its speed was not measured"


def test_the_original_is_the_yardstick_where_there_is_no_float_onnx() -> None:
    torch = replace(row(measured("net.py:task", 300)), format="torch", name="net.py:task", size=None)
    choice = choose([torch, SMALL])
    assert choice.row is SMALL
    assert "faster than net.py:task in PyTorch" in choice.sentence


def test_the_original_itself_is_never_shipped() -> None:
    assert choose([replace(FLOAT, format="torch")]).row is None


def test_threads_are_part_of_the_choice() -> None:
    two = row(measured("net.onnx", 50, threads=2))
    choice = choose([FLOAT, two])
    assert choice.row is two
    assert choice.sentence.startswith("Ship net.onnx in ONNX Runtime, 2 threads: 2.")
    assert "faster than net.onnx in ONNX Runtime (95 %" in choice.sentence

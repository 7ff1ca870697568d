"""What the benchmark programs print, read: published transcripts (transcripts/README.md says whose), and mutations of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.errors import EngineFailed
from edgedl.targets.adb.transcript import MIB, Reading, litert, operators, ort

FOLDER = Path(__file__).with_name("transcripts")
TEXTS = {path.stem: path.read_text() for path in FOLDER.glob("*.txt")}
DELTA, PEAK = "memory above the start of the program", "peak memory of the program"


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("litert_android_2020", Reading(33209.4e3, 49060e3, 855e3, 50, 32641e3, 12.8672 * MIB, DELTA)),
        ("litert_percentiles", Reading(105784e3, 106436e3, 87639e3, 50, 105416e3, 14.8164 * MIB, DELTA)),
        ("litert_logcat", Reading(2.71985e9, 2732148e3, 458883e3, 10, 2640862e3, 337 * MIB, DELTA)),
    ],
)
def test_benchmark_model_is_read(name: str, reading: Reading) -> None:
    found = litert(TEXTS[name])
    assert asdict(found) == pytest.approx(asdict(reading))


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("ort_2020", Reading(144.871e6, 144.871e6, 0.127918e9, 10, None, 158171136, PEAK)),
        ("ort_percentiles", Reading(98.961997e6, 196e6, 0.217932e9, 5, 0.0958204e9, 271122432, PEAK)),
    ],
)
def test_onnxruntime_perf_test_is_read(name: str, reading: Reading) -> None:
    assert asdict(ort(TEXTS[name])) == pytest.approx(asdict(reading))


def test_a_single_run_is_its_own_fastest() -> None:
    text = TEXTS["litert_logcat"].splitlines()
    one = "\n".join([text[0], text[3]])
    assert (litert(one).runs, litert(one).fastest_ns) == (1, 2732148e3)


def test_the_operators_of_the_runs_are_read_and_not_those_of_the_start() -> None:
    found = operators(TEXTS["litert_operators"])
    assert [(cost.kind, cost.ns) for cost in found] == [
        ("CONV_2D", pytest.approx(4.269e6)),
        ("DEPTHWISE_CONV_2D", pytest.approx(2.15e6)),
        ("AVERAGE_POOL_2D", pytest.approx(36e3)),
        ("SOFTMAX", pytest.approx(29e3)),
    ]
    assert found[0].name == "MobilenetV1/MobilenetV1/Conv2d_0/Relu6"


def test_columns_are_known_by_their_titles() -> None:
    """Newer versions leave out `[start]`."""
    lines = [
        "\t".join(cells[:2] + cells[3:]) if len(cells := line.split("\t")) == 10 else line
        for line in TEXTS["litert_operators"].splitlines()
    ]
    assert operators("\n".join(lines)) == operators(TEXTS["litert_operators"])


@pytest.mark.parametrize("text", ["", "no table", "=== Run Order ===", "=== Run Order ===\n\t[node type]\n\tx"])
def test_where_there_is_no_table_there_are_no_operators(text: str) -> None:
    assert operators(text) == ()


@pytest.mark.parametrize("read", [litert, ort])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("", "it printed nothing"),
        ("STARTING!\nERROR: Failed to load model x\nBenchmarking failed.", "Benchmarking failed."),
        ("usage: benchmark_model", "usage: benchmark_model"),
    ],
)
def test_without_figures_its_last_words_are_told(read: object, text: str, last: str) -> None:
    with pytest.raises(EngineFailed, match="the benchmark program gave no figures: ") as caught:
        read(text)  # type: ignore[operator]
    assert str(caught.value).endswith(last)


def test_what_no_run_can_have_is_refused() -> None:
    text = TEXTS["litert_percentiles"].replace("Inference (avg): 105784", "Inference (avg): 0")
    with pytest.raises(EngineFailed, match="figures that no run can have"):
        litert(text)
    with pytest.raises(EngineFailed, match="figures that no run can have"):
        ort(TEXTS["ort_2020"].replace("144.871 ms", "1e400 ms"))


@given(st.sampled_from(sorted(TEXTS)), st.data())
def test_no_mutation_does_more_than_be_refused(name: str, data: st.DataObject) -> None:
    """Cut out, doubled, and replaced: figures that are finite, or one sentence."""
    text = TEXTS[name]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(len(text), at + 60)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(["", "9e999", "\n", "\t", "-", "NaN", "count=", text[at:end] * 2]))
            + text[end:]
        )
    costs = operators(text)
    assert all(math.isfinite(cost.ns) and cost.ns >= 0 for cost in costs)
    for read in (litert, ort):
        try:
            reading = read(text)
        except EngineFailed as error:
            assert "\n" not in str(error)
        else:
            json.dumps(asdict(reading), allow_nan=False)
            assert reading.mean_ns > 0

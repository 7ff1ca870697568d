from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from test_measure_samples import failed, measured, record, rounds
from test_report_rows import artifact

from edgedl.artifact import Artifact
from edgedl.cli.report import command
from edgedl.comparison import Comparison, Layer
from edgedl.measure import BenchmarkRecord, Figure, OperatorCost, Profile, Start
from edgedl.report import Report, benchmark_table, build, render, report_table, units
from edgedl.report.method import method
from edgedl.report.quantities import LATENCY, SIZE, quantities
from edgedl.report.sustained import throttle
from edgedl.report.tradeoffs import apart, front

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>|`*_\x1b[31m'\".onnx"


class Page(HTMLParser):
    """Texts of cells, elements and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.script: dict[str, str] = {}
        self._in_script, self._in_cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = (dict(attrs).get("type") or "plain") if tag == "script" else ""
        self._in_cell = tag in ("td", "th") or (self._in_cell and tag in ("br", "small"))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.script[self._in_script] = self.script.get(self._in_script, "") + data
        elif self._in_cell:
            self.cells[-1] += data


def _folder(folder: Path) -> tuple[list[Artifact], BenchmarkRecord]:
    made = [artifact(folder, "net.onnx", 40_000), artifact(folder, "net.w8a8.tflite", 10_000, "w8a8", 0.002)]
    digests = [a.manifest.sha256 for a in made if a.manifest]
    subjects = [
        measured("net.onnx", 100, sha256=digests[0], size=40_000),
        measured("net.w8a8.tflite", 40, sha256=digests[1], size=10_000),
        measured("net.py:task", 300),
        failed("net.dead.onnx"),
    ]
    return made, record(*subjects)


@pytest.fixture()
def report(tmp_path: Path) -> Report:
    return build(*_folder(tmp_path))


def test_the_numbers_of_the_page_are_those_of_the_record(report: Report) -> None:
    page = Page(render(report, "html"))
    assert report.record
    assert BenchmarkRecord.from_json(page.script["application/json"], "page") == report.record
    told = [summary.median_ns for summary in report.record.summaries if summary]
    shown = [cell for cell in page.cells if "µs[" in cell]
    assert shown == 2 * [
        units.spread(median).replace(" [", "[") for median in told
    ]  # in the first table and in the timings
    for cell, median in zip(shown, 2 * told, strict=True):
        assert float(cell.split()[0]) == pytest.approx(median.value / 1000, rel=0.005)


def test_every_format_tells_verdict_rows_and_failures(report: Report) -> None:
    for text in (render(report, "markdown"), render(report, "html")):
        assert "Ship net.w8a8.tflite in LiteRT: 2." in text
        assert "crashed with SIGSEGV" in text
        assert "Test CPU, 4 cores" in text
        assert "20 rounds interleaved in random order" in text
    table = report_table(report.rows)
    assert re.search(r"net\.w8a8\.tflite +w8a8 +LiteRT +10\.0 kB +- ", table)
    assert "0.002 [0.000, 0.004]" in table
    assert re.search(r"net\.py:task.* reference", table)


def test_the_page_has_its_plots_and_each_is_well_formed(report: Report) -> None:
    text = render(report, "html")
    drawings = re.findall(r"<svg viewBox=\"0 0 420.*?</svg>", text, re.DOTALL)
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing and "inf" not in drawing
    names = [ElementTree.fromstring(drawing).get("aria-label") for drawing in drawings]
    known = ("accuracy", "latency per run", "file size", "peak memory")
    pairs = [f"{up} against {across}" for up, across in combinations(known, 2)]
    assert names == ["Median latency", *pairs, "Latency distributions", "File sizes"]
    assert text.count("<figure>") == 4
    assert text.count('class="pane" hidden') == len(pairs) - 1


def test_the_front_is_what_nothing_beats_in_both(report: Report) -> None:
    size, latency = SIZE, LATENCY
    both = [row for row in report.rows if row.size and row.median]
    assert [row.name for row in front(both, latency, size)] == ["net.w8a8.tflite"]
    accuracy = quantities(report.rows)[0]
    assert [row.name for row in front(both, accuracy, latency)] == ["net.w8a8.tflite", "net.onnx"]


def test_long_names_lose_what_they_share() -> None:
    assert apart(["net.onnx", "net.w8a8.onnx"]) == ["net.onnx", "net.w8a8.onnx"]
    long = "a-network-with-a-name.b."
    assert apart([f"{long}c1.onnx", f"{long}c2.tflite"]) == ["\u2026c1.onnx", "\u2026c2.tflite"]
    assert apart([long + "c", long + "c.d"]) == ["\u2026c", "\u2026c.d"]
    assert apart([]) == [] and apart(["x" * 40]) == ["x" * 40]


def test_each_is_compared_with_each(report: Report) -> None:
    first, second, third = report.matrix
    assert [line.gains[n] for n, line in enumerate(report.matrix)] == [None] * 3
    assert first.gains[1] and second.gains[0] and third.gains[0]
    assert first.gains[1].value * second.gains[0].value == pytest.approx(1)
    assert second.gains[0].value > 2 > 1 > third.gains[0].value
    for text in (render(report, "markdown"), render(report, "html")):
        assert "times faster than" in text and "2. net.w8a8.tflite in litert" in text.replace("\\", "")
    assert build([], record(measured("a.onnx", 10), measured("b.onnx", 10))).matrix == ()


def test_figures_operators_and_layers_are_told_in_every_format() -> None:
    costs = (OperatorCost("node_conv", "Conv", 2000.0, 10, 20, 300), OperatorCost("node_add", "Add", 500.0, 10, 20, 0))
    figure = Figure("latency", 5e6, "ns", "predicted", 4e6, 6e6, "24 published rows")
    predicted = measured("b.onnx", 1, rounds=(), figures=(figure,), target="predicted:raspberry-pi-4")
    layer = Layer("conv", "conv_1", "net.py:3", (1, 8), 42.0, 0.99, -1.5, 2.5)
    compared = Comparison("torch 2", "a.onnx", "seeded", 3, (layer,), ())
    made = build(
        [], record(measured("a.onnx", 10, profile=Profile("made up", 7, 3000.0, costs)), predicted), layers=[compared]
    )
    for text in (render(made, "markdown").replace("\\", ""), render(made, "html")):
        assert "5.00 ms" in text and "24 published rows" in text
        assert "node_conv" in text and "2.00 µs" in text and "80%" in text
        assert "80% of the operators' time is Conv" in text.replace("&#x27;", "'")
        assert "-1.5 to 2.5" in text and "net.py:3" in text and "42.0" in text
    assert "latency per run" in render(made, "html")


def test_the_page_loads_nothing(report: Report) -> None:
    text = render(report, "html")
    assert not re.search(r"https?://", text)
    assert "default-src 'none'" in text
    for tag, attributes in Page(text).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in text and "url(" not in text


def test_hostile_names_stay_text() -> None:
    subject = measured("a.onnx", 10, label=HOSTILE, source=HOSTILE, engine="<b>engine</b> 1")
    made = build([], record(subject, measured("b.onnx", 20), failed(HOSTILE)))
    page = Page(render(made, "html"))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 2
    assert not {"img", "b"} & set(tags)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert json.loads(page.script["application/json"])["subjects"][0]["label"] == HOSTILE
    assert any(HOSTILE in cell for cell in page.cells)
    markdown = render(made, "markdown")
    assert "<script" not in markdown.replace("\\<", "")
    assert len({line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("| ")}) == 1
    assert "\x1b" not in markdown + report_table(made.rows) + benchmark_table(record(subject))


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("throughput", "3 processes at once: 20 rounds interleaved"),
        ("cold", "20 new processes, with its file out of the page cache"),
        ("sustained", "one after the other and each without a pause: 20 rounds, at least 400 runs and 0.1 s"),
    ],
)
def test_the_method_is_that_of_the_mode(mode: str, said: str) -> None:
    made = record(measured("a.onnx", 10))
    plan = replace(made.plan, mode=mode, streams=3)
    assert said in method(build([], replace(made, plan=plan)))[0]


def test_the_timings_are_those_of_the_mode() -> None:
    start = Start(0.3, 0.058, 0.0248, 4e-4, True)
    cold = record(measured("a.onnx", 10, starts=(start,)), failed("b.onnx"))
    for text in (
        render(build([], replace(cold, plan=replace(cold.plan, mode="cold"))), fmt) for fmt in ("html", "markdown")
    ):
        assert "Timings: a new process and a file out of the page cache for every run" in text
        assert "58.0 ms" in text and "24.8 ms" in text and "400 µs" in text and "300 ms" in text
    assert "Timings: one run after the other, rounds interleaved" in render(build([], cold), "markdown")


def test_the_throttling_curve_is_drawn_for_runs_without_a_pause() -> None:
    slower = replace(measured("slow.onnx", 10), rounds=tuple(replace(r, at=3.0 * n) for n, r in enumerate(rounds(10))))
    made = record(measured("a.onnx", 10), slower)
    nothing = replace(record(failed("a.onnx")), plan=replace(made.plan, mode="sustained"))
    assert throttle(made) == throttle(None) == throttle(nothing) == ""
    drawn = throttle(replace(made, plan=replace(made.plan, mode="sustained")))
    ElementTree.fromstring(drawn)
    assert drawn.count(" curve") == 2
    assert "slow.onnx in ort, 57 s without a pause: " in drawn
    text = render(build([], replace(made, plan=replace(made.plan, mode="sustained"))), "html")
    assert 'aria-label="time of a run without a pause"' in text
    assert "the smallest difference that could be seen here was" in text


def test_what_was_only_predicted_did_not_run() -> None:
    figure = Figure("latency", 5e6, "ns", "predicted", 4e6, 6e6, "24 published rows")
    made = build([], record(measured("a.onnx", 1, rounds=(), figures=(figure,), target="predicted:raspberry-pi-4")))
    assert method(made)[0] == "Nothing ran: all figures are what the target tells."
    assert "process" not in " ".join(method(made))


def test_a_formula_in_a_name_is_quoted_in_csv() -> None:
    text = render(build([], record(measured("=cmd()|a.onnx", 10))), "csv")
    assert text.splitlines()[1].startswith("'=cmd()|a.onnx,onnx,")


def test_csv_is_in_base_units(report: Report) -> None:
    lines = [line.split(",") for line in render(report, "csv").splitlines()]
    first = dict(zip(lines[0], lines[1], strict=True))
    summary = report.record.summaries[0] if report.record else None
    assert summary and float(first["median_ns"]) == summary.median_ns.value
    assert (first["size_bytes"], first["proven"], first["score"]) == ("40000", "True", "0.989")
    assert float(first["cpu_ns"]) == summary.cpu_ns
    assert first["p99_ns"] == "" and float(first["p90_ns"]) == summary.percentiles[1].value
    last = dict(zip(lines[0], lines[4], strict=True))
    assert (last["median_ns"], last["failure"]) == ("", "the process crashed with SIGSEGV")


def test_csv_has_what_a_target_told() -> None:
    figure = Figure("energy", 2e-3, "J", "measured", 1.8e-3, 2.2e-3, "RAPL")
    text = render(build([], record(measured("a.onnx", 10, figures=(figure,)))), "csv")
    row = dict(zip(*(line.split(",") for line in text.splitlines()), strict=True))
    assert [row[f"energy_joules_{what}"] for what in ("told", "low", "high", "how")] == [
        "0.002",
        "0.0018",
        "0.0022",
        "measured",
    ]
    assert row["latency_ns_told"] == "" and float(row["median_ns"]) > 0


def test_one_lonely_subject_can_be_drawn() -> None:
    text = render(build([], record(measured("a.onnx", 10))), "html")
    assert text.count("<figure>") == 2
    assert '<p class="verdict none">Ship nothing yet' in text


def test_artifacts_alone_make_a_page(tmp_path: Path) -> None:
    made = build([artifact(tmp_path, "net.onnx", 4000)], None)
    text = render(made, "html")
    assert text.count("<figure>") == 1
    assert "its speed was not measured" in text and "Environment" not in text


def test_threads_have_a_column_only_where_they_differ(report: Report) -> None:
    assert "threads" not in report_table(report.rows)
    two = build([], record(measured("a.onnx", 10), measured("a.onnx", 8, threads=2, label="two")))
    assert "threads" in report_table(two.rows)


def test_the_command_writes_pages_by_their_suffix(tmp_path: Path) -> None:
    _, made = _folder(tmp_path)
    (tmp_path / "record.json").write_text(made.to_json())
    for name, start in (("r.html", "<!doctype html>"), ("r.md", "# net"), ("r.csv", "artifact,format")):
        done = CliRunner().invoke(command, [str(tmp_path), "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        assert done.output.startswith("Ship net.w8a8.tflite in LiteRT: ")
        assert (tmp_path / name).read_text().startswith(start)
    again = CliRunner().invoke(command, [str(tmp_path), "-o", str(tmp_path / "r.html")])
    assert "add --force" in str(again.exception)
    printed = CliRunner().invoke(command, [str(tmp_path), "-o", "-", "--format", "markdown"])
    assert printed.stdout == (tmp_path / "r.md").read_text()

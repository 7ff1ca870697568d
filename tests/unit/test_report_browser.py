"""The report in Chromium: nothing complains, the plots are there, what it shows and saves is what was measured."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_measure_samples import failed, measured, record
from test_report_rows import artifact

from chromium import PROGRAM, Browser, browser
from edgedl.comparison import Comparison, Layer
from edgedl.measure import BenchmarkRecord, Figure, OperatorCost, Profile, Roof
from edgedl.report import build, render, units

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: apt-get install chromium")
HOSTILE = "</script><img src=x onerror=alert(1)>.onnx"
PROFILE = Profile(
    "made up", 10, 50_000.0,
    tuple(OperatorCost(f"node_{n}", "Conv", 1000.0 * n, 2000, 3000, 10_000 * n) for n in range(1, 22)),
    roof=Roof(1e10, 1e10, 1, "made up"),
)  # fmt: skip
LAYERS = (
    Layer("conv", "conv_1", "net.py:3", (1, 8, 4, 4), 42.0, 0.9999, -1.5, 2.5),
    Layer("relu", "relu", None, (1, 8), math.inf, 1.0, 0.0, 2.5),
    Layer("<b>", "<b>", "net.py:5", (1, 2), math.nan, math.nan, -1.0, math.nan),
)


def _record(folder: Path) -> BenchmarkRecord:
    made = [artifact(folder, "net.onnx", 40_000), artifact(folder, "net.w8a8.tflite", 10_000, "w8a8", 0.002)]
    joules = [Figure("energy", value, "J", "measured", 0.9 * value, 1.1 * value, "RAPL") for value in (2e-3, 1e-3)]
    return record(
        measured("net.onnx", 100, sha256=made[0].sha256, size=40_000, profile=PROFILE, figures=(joules[0],)),
        measured("net.w8a8.tflite", 40, sha256=made[1].sha256, size=10_000, figures=(joules[1],)),
        measured("net.py:task", 300),
        failed(HOSTILE),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkRecord:
    return _record(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def page(made: BenchmarkRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    files = [artifact(folder, "net.onnx", 40_000), artifact(folder, "net.w8a8.tflite", 10_000, "w8a8", 0.002)]
    compared = Comparison("torch 2", "net.w8a8.tflite", "seeded", 3, LAYERS, ())
    (folder / "report.html").write_text(render(build(files, made, layers=[compared]), "html"))
    return folder / "report.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(chromium: Browser, page: Path) -> Browser:
    """The page, in light, on a desk."""
    chromium.size(1366)
    chromium.dark(False)
    chromium.open(page)
    return chromium


@pytest.mark.parametrize(("width", "dark"), [(1366, False), (1366, True), (390, False), (390, True)])
def test_nothing_complains_and_nothing_sticks_out(tab: Browser, page: Path, width: int, dark: bool) -> None:
    tab.size(width)
    tab.dark(dark)
    tab.open(page)
    assert tab.complaints() == []
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.picture().startswith(b"\x89PNG")
    background = tab.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")


def test_the_plots_are_there(tab: Browser) -> None:
    shown = tab.run("""[...document.querySelectorAll("figure svg")].filter(svg => svg.getBoundingClientRect().height > 60)
        .map(svg => svg.getAttribute("aria-label"))""")
    assert shown == [
        "Median latency", "accuracy against latency per run", "Latency distributions", "File sizes",
        "time of each operator", "SQNR of each tensor",
    ]  # fmt: skip
    assert tab.run("document.querySelectorAll('figure .computing, figure .memory').length") == 15
    assert "and 6 more" in tab.run("document.body.textContent")


def test_the_numbers_are_those_of_the_record(tab: Browser, made: BenchmarkRecord) -> None:
    cells = tab.run(
        """[...document.querySelector("table").rows].slice(1).map(row => [...row.cells].map(c => c.innerText))"""
    )
    for line, subject, summary in zip(cells, made.subjects, made.summaries, strict=True):
        assert line[0].startswith(subject.source)
        if summary is None:
            assert "failed" in line
            continue
        assert units.spread(summary.median_ns).replace(" [", "\n[") in line
        assert units.size(subject.peak_bytes) in line
    embedded = tab.run("document.getElementById('record.json').textContent")
    assert BenchmarkRecord.from_json(embedded, "page") == made


def test_a_download_is_the_record(tab: Browser, made: BenchmarkRecord, tmp_path: Path) -> None:
    tab.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.run("document.querySelector('a.download').click()")
    saved = tmp_path / "record.json"
    for _ in range(200):
        if saved.exists() and saved.stat().st_size:
            break
        time.sleep(0.05)
    assert json.loads(saved.read_text()) == json.loads(made.to_json())
    assert BenchmarkRecord.open(saved) == made


def test_every_pair_of_axes_can_be_chosen(tab: Browser) -> None:
    titles = tab.run("[...document.querySelectorAll('.axes option')].map(option => option.textContent)")
    known = ("accuracy", "latency per run", "file size", "energy per run", "peak memory")
    assert titles == [f"{up} against {across}" for n, up in enumerate(known) for across in known[n + 1 :]]
    for place, title in enumerate(titles):
        shown = tab.run(f"""(() => {{
            const list = document.querySelector(".axes select");
            list.selectedIndex = {place};
            list.dispatchEvent(new Event("change"));
            return [...document.querySelectorAll(".pane svg")].filter(svg => svg.getBoundingClientRect().height > 60)
                .map(svg => svg.getAttribute("aria-label"));
        }})()""")
        assert shown == [title]
    assert tab.complaints() == []


def test_marks_tell_under_the_pointer_and_with_the_keyboard(tab: Browser) -> None:
    mark = "document.querySelector('.pane:not([hidden]) g[tabindex]')"
    said = tab.run(f"({mark}.focus(), document.getElementById('tip').innerText)")
    assert said.startswith("net.onnx in ONNX Runtime: accuracy 0.989, latency per run ")
    assert "energy per run 2.00 mJ [1.80 mJ, 2.20 mJ], measured" in said
    tab.run("document.activeElement.blur()")
    assert tab.run("document.getElementById('tip').hidden") is True
    at = tab.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({mark}.getBoundingClientRect())")
    tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])
    assert tab.run("document.getElementById('tip').innerText") == said
    tab.ask("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert tab.run("document.getElementById('tip').hidden") is True


def test_it_prints(tab: Browser) -> None:
    assert tab.print().startswith(b"%PDF")
    tab.ask("Emulation.setEmulatedMedia", media="print")
    shown = "[...document.querySelectorAll('.raw, .axes, #tip')].filter(e => e.getBoundingClientRect().height).length"
    assert tab.run(shown) == 0
    wide = "[...document.querySelectorAll('figure table')].filter(t => t.scrollWidth > t.closest('figure').clientWidth).length"
    assert tab.run(wide) == 0
    tab.ask("Emulation.setEmulatedMedia", media="")

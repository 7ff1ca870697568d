from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Run
from edgedl import Artifact
from edgedl.comparison import Comparison


@pytest.fixture
def folder(tmp_path: Path, digits_onnx: Artifact) -> Path:
    for path in digits_onnx.path.parent.glob("digits.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_table_json_and_page(quick_command: Run, folder: Path) -> None:
    done = quick_command("compare", "torch", "digits.onnx", "--top", "2", "-o", "layers.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("digits.onnx against torch ")
    assert "digits.py:" in lines[0]
    assert len([line for line in lines if "digits.py:" in line]) == 3
    assert lines[-1] == "Wrote layers.html"
    assert done.stderr == ""
    assert (folder / "layers.html").read_text().startswith("<!doctype html>")
    again = quick_command("compare", "digits.onnx", "torch", "--json", "-o", "layers.html", cwd=folder)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    found = json.loads(quick_command("compare", "digits.onnx", "digits.onnx", "--json", cwd=folder).stdout)
    assert {layer["name"] for layer in found["layers"]} >= {"relu", "logits"}
    assert (found["layers"][0]["sqnr_db"], found["layers"][0]["sqnr"]) == (None, "equal")  # infinite: the same file


def test_the_report_shows_a_comparison(quick_command: Run, folder: Path) -> None:
    assert quick_command("compare", "torch", "digits.onnx", "-o", "digits.layers.json", cwd=folder).returncode == 0
    found = Comparison.open(folder / "digits.layers.json")
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["relu"].low == 0 < by_name["relu"].high
    done = quick_command("report", ".", "-o", "report.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = (folder / "report.html").read_text()
    assert "<h2>Layers</h2>" in text and 'aria-label="SQNR of each tensor"' in text
    assert f"0 to {by_name['relu'].high:.3g}" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compare digits.onnx", "Missing argument"),
        ("compare digits.onnx nope.onnx", "no such model file: nope.onnx"),
        ("compare digits.onnx torch -o plot.png", "expected a file that ends in .html, .svg, .json"),
        ("compare digits.onnx torch --task nowhere.py:net", "no such file: nowhere.py"),
        ("compare digits.onnx digits.onnx --calibration nothing.npz", "expected an .npz or .npy file"),
    ],
)
def test_bad_input(quick_command: Run, folder: Path, words: str, said: str) -> None:
    done = quick_command(*words.split(), cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Run
from edgedl import Artifact


@pytest.fixture
def folder(tmp_path: Path, digits_onnx: Artifact) -> Path:
    for path in digits_onnx.path.parent.glob("digits.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_table_json_and_page(command: Run, folder: Path) -> None:
    done = command("compare", "torch", "digits.onnx", "--top", "2", "-o", "layers.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("digits.onnx against torch ")
    assert "digits.py:" in lines[0]
    assert len([line for line in lines if "digits.py:" in line]) == 3
    assert lines[-1] == "Wrote layers.html"
    assert done.stderr == ""
    assert (folder / "layers.html").read_text().startswith("<!doctype html>")
    again = command("compare", "digits.onnx", "torch", "--json", "-o", "layers.html", cwd=folder)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    found = json.loads(command("compare", "digits.onnx", "digits.onnx", "--json", cwd=folder).stdout)
    assert {layer["name"] for layer in found["layers"]} >= {"relu", "logits"}
    assert found["layers"][0]["sqnr_db"] is None  # infinite: the same file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compare digits.onnx", "Missing argument"),
        ("compare digits.onnx nope.onnx", "no such model file: nope.onnx"),
        ("compare digits.onnx torch -o plot.png", "expected a file that ends in .html or .svg"),
        ("compare digits.onnx torch --task nowhere.py:net", "no such file: nowhere.py"),
        ("compare digits.onnx digits.onnx --calibration nothing.npz", "expected an .npz or .npy file"),
    ],
)
def test_bad_input(command: Run, folder: Path, words: str, said: str) -> None:
    done = command(*words.split(), cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

"""Model files that edgedl did not write, through every verb that takes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conftest import Run

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from foreign_models import info, model, node, saved, tensor, values


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A convolution that needs 9 steps or more, of axes without names."""
    made = model(
        [node("Conv", ["x", "w"], ["y"])],
        [info("x", ["?", 2, "?"])],
        [info("y", ["?", 32, "?"])],
        [tensor("w", values(32, 2, 9))],
    )
    return saved(made, tmp_path)


def test_a_shape_is_taken_by_every_verb(quick_command: Run, foreign: Path) -> None:
    folder = foreign.parent
    quantized = quick_command(
        "quantize",
        "net.onnx",
        "--scheme",
        "w8",
        "--no-speed-check",
        "--allow-slower",
        "--shape",
        "x=2x2x12",
        cwd=folder,
    )
    assert quantized.returncode == 0, quantized.stderr
    for words in (("run", "net.onnx"), ("verify", "net.w8.onnx"), ("compare", "net.onnx", "net.w8.onnx")):
        fits = quick_command(*words, "--shape", "x=3x2x11", cwd=folder)
        assert fits.returncode == 0, fits.stderr
        short = quick_command(*words, "--shape", "x=3x2x5", cwd=folder)
        assert short.returncode == 2
        assert "net.onnx does not run on the shape given" in short.stderr
    assert "3x32x3" in quick_command("compare", "net.onnx", "net.w8.onnx", "--shape", "x=3x2x11", cwd=folder).stdout


def test_run_makes_inputs_up_and_says_so(quick_command: Run, foreign: Path) -> None:
    done = quick_command("run", "net.onnx", cwd=foreign.parent)
    assert done.returncode == 0, done.stderr
    assert "on seeded inputs x=4x2x16 (give your own with --input FILE)" in done.stdout
    assert "y (4, 32, 8) float32" in done.stdout


def test_verify_holds_against_the_float_file(quick_command: Run, foreign: Path) -> None:
    quick_command(
        "quantize", "net.onnx", "--scheme", "w8", "--no-speed-check", "--allow-slower", "-o", "out", cwd=foreign.parent
    )
    done = quick_command("verify", "out/net.w8.onnx", cwd=foreign.parent)
    assert done.returncode == 0, done.stderr
    assert "agrees with onnxruntime" in done.stdout
    foreign.unlink()
    gone = quick_command("verify", "out/net.w8.onnx", cwd=foreign.parent)
    assert gone.returncode == 2
    assert "net.onnx, the float file that it was made from, is not there; give --task net.py:NAME" in gone.stderr

"""Device classes, microcontrollers and browsers through the command: tables, exit codes, one sentence."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from conftest import Run

SUM = str(files("edgedl") / "models" / "sum.tflite")
QUICK = ("--runs", "6", "--rounds", "6", "--seconds", "0")


@pytest.mark.skipif(sys.platform != "linux", reason="limits need Linux")
def test_a_model_over_its_budget_is_a_row_and_the_others_finish(command: Run, tmp_path: Path) -> None:
    onnx = SUM.replace(".tflite", ".onnx")
    (tmp_path / "big.onnx").write_bytes(Path(onnx).read_bytes())
    done = command("benchmark", "big.onnx", SUM, "--target", "local:memory=28MB", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning: big.onnx in ONNX Runtime: needed more than 28 MB and was killed" in done.stderr
    assert "local:memory=28MB: memory by " in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits need Linux")
@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("local:memory=9MB", 1, "needed more than 9 MB and was killed"),
        ("local:cpus=0", 2, "cpus=0: expected 1 to"),
        ("local:memroy=64MB", 2, "did you mean 'memory'?"),
        ("local:memory=64", 2, "expected a number with a unit"),
        ("mcu:raspberry-pi-pic", 2, "did you mean 'raspberry-pi-pico'?"),
        ("web", 3, "edgedl target setup web"),
        ("node", 2, "node runs onnx files"),
    ],
)
def test_what_cannot_be_is_one_sentence(command: Run, tmp_path: Path, target: str, code: int, said: str) -> None:
    done = command("benchmark", SUM, "--target", target, *QUICK, cwd=tmp_path, EDGEDL_TARGETS=str(tmp_path))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (code, 1), done.stderr
    assert said in done.stderr


def test_nobody_to_forgive_is_said_plainly(command: Run, tmp_path: Path) -> None:
    done = command("targets", "--forgive", "nobody", cwd=tmp_path, EDGEDL_TARGETS=str(tmp_path))
    said = "edgedl: no device is skipped, so there is nothing to forgive 'nobody' for (see: edgedl targets)\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_board_is_told_and_the_json_is_whole(command: Run, tmp_path: Path) -> None:
    told = command("benchmark", SUM, "--target", "mcu:arduino-nano-33-ble", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "sum.tflite fits on arduino-nano-33-ble" in told.stdout
    (found,) = json.loads(command("benchmark", SUM, "--target", "mcu", "--json", cwd=tmp_path).stdout)["subjects"]
    assert [figure["name"] for figure in found["figures"]] == ["arena", "flash"]


def test_a_model_that_does_not_fit_ends_with_1_after_its_figures(command: Run, tmp_path: Path) -> None:
    """A file is as large as its weights: 3 MB more than the flash of the board, behind the model."""
    (tmp_path / "large.tflite").write_bytes(Path(SUM).read_bytes() + bytes(3_000_000))
    done = command("benchmark", "large.tflite", "--target", "mcu:nrf52840-dk", cwd=tmp_path)
    assert done.returncode == 1
    assert "3.03 MB" in done.stdout
    assert done.stderr.strip().startswith("edgedl: large.tflite does not fit on nrf52840-dk: it needs 3.02 MB of flash")


def test_the_list_tells_how_limits_are_held(command: Run, tmp_path: Path) -> None:
    done = command("targets", cwd=tmp_path, EDGEDL_TARGETS=str(tmp_path))
    assert done.returncode == 0
    for name in ("local", "mcu", "web", "node"):
        assert any(line.startswith(f"{name} ") for line in done.stdout.splitlines())

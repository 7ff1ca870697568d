"""Artifact groups through the installed command; what has to do with torch is in tests/unit/test_grouping.py and docs/."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from edgedl import Artifact


@pytest.fixture
def here(reverse_onnx: Artifact, tmp_path: Path) -> Path:
    """A folder with the group in it."""
    shutil.copytree(reverse_onnx.path, tmp_path / "reverse.onnx.group")
    return tmp_path


def test_inspect(quick_command: Run, here: Path) -> None:
    done = quick_command("inspect", "reverse.onnx.group", cwd=here)
    assert done.returncode == 0, done.stderr
    for line in (
        "input       source: int64[batch, 4]",
        "loop        begin 1, end 0, at most 6 tokens, beam 1",
        "feeds       memory from memory",
        "state       hidden_next to hidden",
        "zeros       context [12]",
        "vocabulary  tokens: 10 words",
        "100.0% of 96 sequences the same, first right ",
    ):
        assert line in done.stdout
    told = json.loads(quick_command("inspect", "reverse.onnx.group", "--json", cwd=here).stdout)
    assert told["manifest"]["group"]["members"]["decoder"]["file"] == "decoder.onnx"


def test_run_on_golden_vectors_and_on_files(quick_command: Run, here: Path) -> None:
    done = quick_command("run", "reverse.onnx.group", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "golden outputs agree" in done.stdout
    np.save(here / "rows.npy", np.full((1, 4), 5))
    told = json.loads(quick_command("run", "reverse.onnx.group", "--input", "rows.npy", "--json", cwd=here).stdout)
    assert np.shape(told["outputs"]["tokens"]) == (1, 6)
    (text,) = told["texts"]
    assert set(text.split()) <= {".", "^", *"abcdefgh"}


def test_verify_again_and_a_member_alone(quick_command: Run, here: Path) -> None:
    done = quick_command("verify", "reverse.onnx.group", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "100.0% of 96 sequences the same" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "reverse.onnx.group", "--layers"),
        ("compare", "reverse.onnx.group", "reverse.onnx.group"),
        ("quantize", "reverse.onnx.group", "--auto", "--max-drop", "1%", "--force"),
        ("benchmark", "reverse.onnx.group", "--target", "predicted:raspberry-pi-4"),
    ],
)
def test_what_works_on_one_file_names_the_members(quick_command: Run, here: Path, words: tuple[str, ...]) -> None:
    done = quick_command(*words, cwd=here)
    assert done.returncode == 2
    give = Path("reverse.onnx.group")
    assert (
        f"is a group, and this works on one model file: give {give / 'decoder.onnx'} and {give / 'encoder.onnx'}"
        in done.stderr
    )


def test_a_cold_start_and_a_profile(quick_command: Run, here: Path) -> None:
    """Both files leave the page cache; a profile is of one file and says so."""
    few = ("--seconds", "0", "--runs", "6", "--rounds", "6")
    cold = quick_command("benchmark", "reverse.onnx.group", "--mode", "cold", *few, cwd=here)
    assert cold.returncode == 0, cold.stderr
    profiled = quick_command("benchmark", "reverse.onnx.group", "--profile", *few, cwd=here)
    assert profiled.returncode == 0, profiled.stderr
    assert "a group of 2 files has no profile: measure its members one by one" in profiled.stdout + profiled.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "none.onnx.group"), "no such artifact group: none.onnx.group; . holds reverse.onnx.group"),
        (("run", "reverse.group"), "unknown model file type"),
        (("run", "reverse.onnx.group", "--input", "words=rows.npy"), "no input 'words', the model takes source"),
        (("quantize", "reverse.onnx.group", "--scheme", "w9"), "unknown scheme 'w9'"),
    ],
)
def test_bad_input(quick_command: Run, here: Path, words: tuple[str, ...], message: str) -> None:
    done = quick_command(*words, cwd=here)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_golden_vectors_that_differ(quick_command: Run, here: Path) -> None:
    from edgedl import tensorfile

    path = here / "reverse.onnx.group" / "golden.safetensors"
    tensors, _ = tensorfile.decode(path.read_bytes())
    path.write_bytes(tensorfile.encode({**tensors, "output/tokens": tensors["output/tokens"] + 1}))
    done = quick_command("run", "reverse.onnx.group", cwd=here)
    assert done.returncode == 1
    assert "does not give its golden outputs" in done.stderr

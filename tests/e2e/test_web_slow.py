"""The engines of the web for real: npm's packages, Chromium and Node, on the digits network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from edgedl.targets.conformance import check
from edgedl.targets.javascript import chromium, node

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (chromium.program() and node.program() and shutil.which("npm")), reason="needs chromium, node and npm"),
]  # fmt: skip
SHAPE = ("--shape", "image=1x1x8x8")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, digits_weights: Path, command: Run) -> Path:
    """The digits CNN in both formats, float and int8, with a fixed batch in TFLite, and a set-up in a folder of its own."""
    folder = tmp_path_factory.mktemp("web")
    weights = ("--weights", str(digits_weights), "-o", ".")
    for words in (
        ("export", "zoo:digits", "--to", "onnx", *weights), ("export", "zoo:digits", "--to", "tflite", *SHAPE, *weights),
        ("quantize", "digits.onnx", "--scheme", "w8a8"), ("quantize", "digits.tflite", "--scheme", "w8a8"),
        ("target", "setup", "web"), ("target", "setup", "node"),
    ):  # fmt: skip
        done = command(*words, cwd=folder, EDGEDL_TARGETS=str(folder / "targets"))
        assert done.returncode == 0, done.stderr
    return folder


def measured(command: Run, folder: Path, target: str, *names: str) -> list[dict[str, Any]]:
    words = ("benchmark", *names, "--target", target, "--seconds", "0.2", "--json")
    done = command(*words, cwd=folder, EDGEDL_TARGETS=str(folder / "targets"))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["subjects"]
    return found


@pytest.mark.parametrize(
    ("target", "fmt"), [("web", "onnx"), ("web", "tflite"), ("web:throttle=4", "onnx"), ("node", "onnx")]
)
def test_it_keeps_the_promises_of_a_target(
    models: Path, monkeypatch: pytest.MonkeyPatch, target: str, fmt: str
) -> None:
    monkeypatch.setenv("EDGEDL_TARGETS", str(models / "targets"))
    check(target.partition(":")[0], target, fmt)


def test_float_agrees_and_int8_is_near_in_the_browser(models: Path, command: Run) -> None:
    names = ("digits.onnx", "digits.w8a8.onnx", "digits.tflite", "digits.w8a8.tflite")
    found = {s["source"]: s for s in measured(command, models, "web", *names)}
    for name in names:
        assert found[name]["failure"] is None
        assert found[name]["parity"]["relative_rms"] <= (0.01 if "w8a8" in name else 1e-5)
        assert found[name]["memory"]["run"] > 1e6
        assert found[name]["figures"][0]["name"] == "mean"


def test_node_computes_what_is_computed_here(models: Path, command: Run) -> None:
    both = measured(command, models, "node", "digits.onnx", "digits.w8a8.onnx")
    assert len(both) == 2
    for found in both:
        assert found["parity"]["relative_rms"] <= 0.01
        assert found["engine"].startswith("onnxruntime-node ")


@pytest.mark.parametrize(
    ("name", "target"), [("digits.w8a8.tflite", "web"), ("digits.w8a8.onnx", "web"), ("digits.onnx", "node")]
)
def test_verify_holds_it_against_the_original(models: Path, command: Run, name: str, target: str) -> None:
    done = command("verify", name, "--target", target, cwd=models, EDGEDL_TARGETS=str(models / "targets"))
    assert done.returncode == 0, done.stderr
    assert f"on {target} agrees with torch" in done.stdout


def test_a_dynamic_axis_in_tflite_is_refused_with_the_way_out(models: Path, command: Run, digits_weights: Path) -> None:
    words = ("export", "zoo:digits", "--to", "tflite", "--weights", str(digits_weights), "-o", "dynamic")
    assert command(*words, cwd=models).returncode == 0
    words = ("benchmark", "dynamic/digits.tflite", "--target", "web")
    done = command(*words, cwd=models, EDGEDL_TARGETS=str(models / "targets"))
    assert done.returncode == 2
    assert done.stderr.strip().endswith("runs no model with a dynamic axis: export it with --shape image=1x1x8x8")


def test_a_model_that_the_engine_refuses_is_one_sentence(models: Path, command: Run) -> None:
    (models / "broken.onnx").write_bytes((models / "digits.onnx").read_bytes()[:-5000])
    words = ("benchmark", "broken.onnx", "--target", "web")
    done = command(*words, cwd=models, EDGEDL_TARGETS=str(models / "targets"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_removed_is_removed(models: Path, command: Run) -> None:
    """The last of this file."""
    for name in ("web", "node"):
        assert command("target", "remove", name, cwd=models, EDGEDL_TARGETS=str(models / "targets")).returncode == 0
        assert not (models / "targets" / name).exists()

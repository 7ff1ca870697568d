"""The emulated 32-bit ARM for real: its set-ups, what tflite-runtime and ONNX Runtime compute there, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from edgedl.targets.conformance import check
from edgedl.targets.qemu import sysroot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(sysroot.impossible()), reason=sysroot.impossible() or "it is possible"),
]
FILES = ("digits.tflite", "digits.w8a8.tflite", "digits.w8a8-dynamic.tflite")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, digits_weights: Path, command: Run) -> Path:
    """The digits CNN in float, int8 and dynamic int8, and a set-up in a folder of its own."""
    folder = tmp_path_factory.mktemp("armhf")
    weights, both = ("--weights", str(digits_weights), "-o", ".", "--force"), ("--to", "tflite", "--to", "onnx")
    for words in (
        ("export", "zoo:digits", *both), ("quantize", "zoo:digits", "--scheme", "w8a8", *both),
        ("quantize", "zoo:digits", "--scheme", "w8a8-dynamic", "--to", "tflite"),
    ):  # fmt: skip
        done = command(*words, *weights, cwd=folder)
        assert done.returncode == 0, done.stderr
    for target in ("qemu-armhf", "qemu-armhf-ort"):
        done = command("target", "setup", target, cwd=folder, EDGEDL_TARGETS=str(folder / "targets"))
        assert done.returncode == 0, done.stderr
    return folder


def benchmark(
    command: Run, folder: Path, core: str, *names: str, target: str = "qemu-armhf"
) -> dict[str, dict[str, Any]]:
    """Source -> subject."""
    words = ("benchmark", *names, "--target", f"{target}:{core}", "--json")
    done = command(*words, cwd=folder, EDGEDL_TARGETS=str(folder / "targets"))
    return {subject["source"]: subject for subject in json.loads(done.stdout)["subjects"]}


def counts(subject: dict[str, Any]) -> dict[str, float]:
    return {figure["name"]: figure["value"] for figure in subject["figures"]}


def test_float_and_int8_run_on_cortex_a7(models: Path, command: Run) -> None:
    found = benchmark(command, models, "cortex-a7", *FILES)
    wide, narrow, dynamic = (found[name] for name in FILES)
    assert wide["engine"] == "tflite-runtime 2.14.0"
    assert wide["parity"]["max_abs"] < 1e-5
    assert narrow["parity"]["steps"] <= 2
    assert counts(wide)["float multiply-add"] > 400_000
    assert counts(narrow)["int multiply"] > 200_000
    assert 1.4 * counts(narrow)["instructions"] < counts(wide)["instructions"]
    assert "needs version 12 of FULLY_CONNECTED" in dynamic["failure"]["message"]


def test_cortex_a9_runs_int8_and_says_why_it_runs_no_float(models: Path, command: Run) -> None:
    found = benchmark(command, models, "cortex-a9", *FILES[:2])
    assert "executes an instruction that cortex-a9 lacks" in found["digits.tflite"]["failure"]["message"]
    assert counts(found["digits.w8a8.tflite"])["int multiply"] > 200_000
    assert not list(models.glob("*.core"))


def test_counts_are_the_same_from_run_to_run_and_on_every_core(models: Path, command: Run) -> None:
    cores = ("cortex-a7", "cortex-a7", "cortex-a15", "cortex-a8")
    first, *others = (counts(benchmark(command, models, core, FILES[1])[FILES[1]]) for core in cores)
    assert others == [first] * 3


@pytest.mark.parametrize("core", ["cortex-a7", "cortex-a9"])
def test_onnx_runtime_runs_on_every_core_and_is_exact_in_int8(models: Path, command: Run, core: str) -> None:
    names = ("digits.onnx", "digits.w8a8.onnx")
    wide, narrow = benchmark(command, models, core, *names, target="qemu-armhf-ort").values()
    assert wide["engine"] == "onnxruntime 1.21"
    assert wide["parity"]["max_abs"] < 1e-5
    assert narrow["parity"]["exact"]
    assert counts(wide)["float multiply-add"] > 400_000
    assert counts(narrow)["int multiply"] > 400_000


@pytest.mark.parametrize(("name", "fmt"), [("qemu-armhf", "tflite"), ("qemu-armhf-ort", "onnx")])
def test_it_keeps_the_promises_of_a_target(models: Path, monkeypatch: pytest.MonkeyPatch, name: str, fmt: str) -> None:
    monkeypatch.setenv("EDGEDL_TARGETS", str(models / "targets"))
    check(name, f"{name}:cortex-a7", fmt)


def test_verify_holds_it_against_the_original_and_this_machine(models: Path, command: Run) -> None:
    words = ("verify", "digits.w8a8.tflite", "--target", "qemu-armhf")
    done = command(*words, cwd=models, EDGEDL_TARGETS=str(models / "targets"))
    assert done.returncode == 0, done.stderr
    assert "in tflite-runtime 2.14.0 on qemu-armhf agrees with torch" in done.stdout
    assert "of the outputs' rounding (up to 2 are usual between versions of an engine)" in done.stdout

"""The emulated ARM64 for real: its set-up from Debian's mirror and PyPI, the goals of the figures, and exactness."""

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
    pytest.mark.xdist_group("arm64"),
    pytest.mark.skipif(bool(sysroot.impossible()), reason=sysroot.impossible() or "it is possible"),
]
MODELS = ("digits.onnx", "digits.w8a8.onnx", "digits.tflite", "digits.w8a8.tflite")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, digits_weights: Path, command: Run) -> Path:
    """The digits CNN in both formats, float and int8, and a set-up in a folder of its own."""
    folder = tmp_path_factory.mktemp("arm64")
    weights = ("--weights", str(digits_weights), "--to", "onnx", "--to", "tflite", "-o", ".")
    for words in (("export",), ("quantize", "--scheme", "w8a8")):
        done = command(words[0], "zoo:digits", *words[1:], *weights, "--force", cwd=folder)
        assert done.returncode == 0, done.stderr
    done = command("target", "setup", "qemu-aarch64", cwd=folder, EDGEDL_TARGETS=str(folder / "targets"))
    assert done.returncode == 0, done.stderr
    return folder


def benchmark(command: Run, folder: Path, core: str, *names: str) -> list[dict[str, Any]]:
    done = command(
        "benchmark",
        *names,
        "--target",
        f"qemu-aarch64:{core}",
        "--json",
        cwd=folder,
        EDGEDL_TARGETS=str(folder / "targets"),
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["subjects"]
    return found


def counts(subject: dict[str, Any]) -> dict[str, float]:
    return {figure["name"]: figure["value"] for figure in subject["figures"]}


def test_the_set_up_is_small_and_complete(models: Path, command: Run) -> None:
    size = sum(
        path.lstat().st_size for path in (models / "targets").rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert size < 400e6
    listed = command("targets", cwd=models, EDGEDL_TARGETS=str(models / "targets"))
    assert "qemu-aarch64  ready" in listed.stdout


def test_int8_is_exact_and_needs_fewer_instructions_on_cortex_a76(models: Path, command: Run) -> None:
    found = {s["source"]: s for s in benchmark(command, models, "cortex-a76", *MODELS)}
    for fmt in ("onnx", "tflite"):
        wide, narrow = found[f"digits.{fmt}"], found[f"digits.w8a8.{fmt}"]
        assert narrow["parity"]["exact"]
        assert wide["parity"]["max_abs"] < 1e-5
        assert counts(wide)["instructions"] >= 1.5 * counts(narrow)["instructions"]
        assert counts(narrow)["dot product"] > 50_000
        assert counts(wide)["float multiply-add"] > 100_000
        assert narrow["rounds"] == []


def test_cortex_a53_runs_other_kernels(models: Path, command: Run) -> None:
    (found,) = benchmark(command, models, "cortex-a53", "digits.w8a8.tflite")
    assert counts(found)["dot product"] == 0
    assert counts(found)["int multiply"] > 50_000
    assert found["parity"]["exact"]


@pytest.mark.parametrize(("name", "apart"), [("digits.w8a8.tflite", 0.0), ("digits.w8a8.onnx", 0.001)])
def test_counts_are_the_same_from_run_to_run(models: Path, command: Run, name: str, apart: float) -> None:
    """To the instruction in LiteRT; in ONNX Runtime the heap lies a little elsewhere each time."""
    first, second = (counts(benchmark(command, models, "cortex-a76", name)[0]) for _ in range(2))
    assert first == pytest.approx(second, rel=apart, abs=0)


def test_it_keeps_the_promises_of_a_target(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDL_TARGETS", str(models / "targets"))
    check("qemu-aarch64", "qemu-aarch64:cortex-a72")


def test_verify_holds_it_against_the_original_and_this_machine(models: Path, command: Run) -> None:
    done = command(
        "verify",
        "digits.w8a8.tflite",
        "--target",
        "qemu-aarch64:cortex-a53",
        cwd=models,
        EDGEDL_TARGETS=str(models / "targets"),
    )
    assert done.returncode == 0, done.stderr
    assert "on qemu-aarch64:cortex-a53 agrees with torch" in done.stdout
    assert "bit-exact with ai-edge-litert" in done.stdout

"""The emulated ARM64 for real, as a process and as a machine: its set-up from Debian's mirror and PyPI, the goals of the figures, and exactness."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed
from edgedl.targets import find
from edgedl.targets.conformance import check
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu_system import setup
from edgedl.targets.qemu_system.setup import Boot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(sysroot.impossible()), reason=sysroot.impossible() or "it is possible"),
]
needs_qemu = pytest.mark.skipif(bool(setup.impossible()), reason=setup.impossible() or "it is possible")
SYSTEM = "qemu-aarch64-system"
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
    assert re.search("^qemu-aarch64 +ready", listed.stdout, re.MULTILINE)


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


# ---- the same as a whole machine ----


@pytest.fixture(scope="module")
def machine(models: Path, command: Run) -> Path:
    """The folder of the models, with qemu-aarch64-system set up beside qemu-aarch64."""
    done = command("target", "setup", SYSTEM, cwd=models, EDGEDL_TARGETS=str(models / "targets"))
    assert done.returncode == 0, done.stderr
    return models


def on_machine(command: Run, folder: Path, detail: str, *names: str) -> dict[str, dict[str, Any]]:
    words = ("benchmark", *names, "--target", f"{SYSTEM}:{detail}", "--json")
    done = command(*words, cwd=folder, EDGEDL_TARGETS=str(folder / "targets"))
    assert done.returncode == 0, done.stderr
    return {subject["source"]: subject for subject in json.loads(done.stdout)["subjects"]}


@needs_qemu
def test_the_machine_shares_the_sysroot(machine: Path, command: Run) -> None:
    own = sum(path.lstat().st_size for path in (machine / "targets" / SYSTEM).rglob("*") if path.is_file())
    assert own < 60e6
    assert f"{SYSTEM}  ready" in command("targets", cwd=machine, EDGEDL_TARGETS=str(machine / "targets")).stdout


@needs_qemu
def test_instructions_outputs_and_memory_are_those_of_the_machine(machine: Path, command: Run) -> None:
    first = on_machine(command, machine, "cortex-a53", *MODELS)
    second = on_machine(command, machine, "cortex-a53", "digits.onnx", "digits.w8a8.tflite")
    inside = {s["source"]: counts(s)["instructions"] for s in benchmark(command, machine, "cortex-a53", *MODELS)}
    for name, again in second.items():
        assert counts(first[name])["instructions"] == pytest.approx(counts(again)["instructions"], rel=0.001)
        assert counts(first[name])["least budget"] == pytest.approx(counts(again)["least budget"], rel=0.02)
    for name in MODELS:
        one = counts(first[name])
        assert inside[name] < one["instructions"] < 1.5 * inside[name]
        assert one["least budget"] < one["peak memory"]
        assert first[name]["parity"]["max_abs"] < 1e-5
        assert first[name]["rounds"] == []
    assert all(first[f"digits.w8a8.{fmt}"]["parity"]["exact"] for fmt in ("onnx", "tflite"))
    assert counts(first["digits.onnx"])["engine and model"] > 1.5 * counts(first["digits.tflite"])["engine and model"]


@needs_qemu
def test_int8_runs_its_fast_kernels_there(machine: Path, command: Run) -> None:
    slow, fast = (on_machine(command, machine, core, MODELS[3])[MODELS[3]] for core in ("cortex-a53", "cortex-a76"))
    assert counts(slow)["instructions"] > 2 * counts(fast)["instructions"]
    assert "asimddp" in fast["machine"]["flags"]
    assert "asimddp" not in slow["machine"]["flags"]


@needs_qemu
def test_the_budget_kills_what_needs_more_and_no_other(machine: Path, command: Run) -> None:
    found = on_machine(command, machine, "cortex-a53,memory=25MB", "digits.onnx", "digits.tflite")
    assert found["digits.onnx"]["failure"]["message"] == "needed more than 25 MB and was killed"
    assert found["digits.tflite"]["failure"] is None
    least = counts(found["digits.tflite"])["least budget"]
    for share, survives in ((1.03, True), (0.95, False)):
        words = ("benchmark", "digits.tflite", "--target", f"{SYSTEM}:cortex-a53,memory={share * least:.0f}B")
        done = command(*words, cwd=machine, EDGEDL_TARGETS=str(machine / "targets"))
        assert (done.returncode == 0) is survives, done.stderr
        assert ("and was killed" in done.stderr) is not survives


@needs_qemu
def test_the_machine_keeps_the_promises_of_a_target(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDL_TARGETS", str(machine / "targets"))
    check(SYSTEM, f"{SYSTEM}:cortex-a72,memory=100MB", "onnx")


@needs_qemu
def test_verify_on_the_machine(machine: Path, command: Run) -> None:
    words = ("verify", "digits.w8a8.tflite", "--target", f"{SYSTEM}:cortex-a53")
    done = command(*words, cwd=machine, EDGEDL_TARGETS=str(machine / "targets"))
    assert done.returncode == 0, done.stderr
    assert f"on {SYSTEM}:cortex-a53 agrees with torch" in done.stdout
    assert "bit-exact with ai-edge-litert" in done.stdout


@needs_qemu
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("busybox", "the guest's kernel gave up: No working init found"),
        ("virtio", "the guest did not start: insmod: can't insert '/modules/virtio_console.ko'"),
    ],
)
def test_a_guest_that_cannot_boot_says_why(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, message: str
) -> None:
    """With a part that is damaged after it was checked."""
    monkeypatch.setenv("EDGEDL_TARGETS", str(machine / "targets"))
    damaged = tmp_path / part
    damaged.write_bytes(b"garbage")
    if part == "busybox":
        monkeypatch.setattr(Boot, "busybox", property(lambda boot: damaged))
    else:
        whole = Boot.module
        monkeypatch.setattr(Boot, "module", lambda boot, name: damaged if name == part else whole(boot, name))
    monkeypatch.setattr(Boot, "whole", lambda boot: True)
    with pytest.raises(EngineFailed, match=re.escape(message)):
        find(f"{SYSTEM}:cortex-a53").session(Artifact.open(machine / "digits.tflite"))

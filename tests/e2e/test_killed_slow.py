"""Set-ups for real that are ended by `kill -9` in the middle, and made again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from conftest import Run
from edgedl.targets.javascript import chromium, node
from edgedl.targets.qemu import sysroot

NEEDS_NODE = pytest.mark.skipif(not (node.program() and shutil.which("npm")), reason="needs node and npm")
NEEDS_CHROMIUM = pytest.mark.skipif(not chromium.program(), reason="needs chromium")
NEEDS_APT = pytest.mark.skipif(bool(sysroot.impossible()), reason=sysroot.impossible() or "it is possible")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]
MOMENTS = [
    pytest.param("node", "onnx", "downloading onnxruntime-common", marks=NEEDS_NODE),
    pytest.param("node", "onnx", "trying it out", marks=NEEDS_NODE),
    pytest.param("web", "tflite", "downloading @litertjs/core", marks=[NEEDS_NODE, NEEDS_CHROMIUM]),
    pytest.param("web", "tflite", "trying it out", marks=[NEEDS_NODE, NEEDS_CHROMIUM]),
    pytest.param("qemu-armhf", "tflite", "downloading the armv7l wheel", marks=NEEDS_APT),
    pytest.param("qemu-armhf", "tflite", "unpacking", marks=NEEDS_APT),
]


def set_up(target: str, folder: Path, until: str = "") -> list[str]:
    """What a person sees of a set-up; with `until` all of its processes are killed as soon as that is said."""
    program = Path(sys.executable).with_name("edgedl")
    terminal, end = os.openpty()
    process = subprocess.Popen(
        [program, "target", "setup", target], cwd=folder, stderr=end, stdout=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "EDGEDL_TARGETS": str(folder / "targets")},
    )  # fmt: skip
    os.close(end)
    said: list[str] = []
    # A terminal ends with an OSError when nobody writes to it any more.
    with os.fdopen(terminal, errors="replace") as lines, contextlib.suppress(OSError):
        for line in lines:
            said.append(line.strip())
            if until and line.startswith(until):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == (-signal.SIGKILL if until else 0), said
    return said


@pytest.mark.parametrize(("target", "fmt", "moment"), MOMENTS)
def test_a_killed_set_up_is_not_ready_and_goes_on(
    target: str, fmt: str, moment: str, tmp_path: Path, command: Run
) -> None:
    model, environment = str(files("edgedl") / "models" / f"sum.{fmt}"), {"EDGEDL_TARGETS": str(tmp_path / "targets")}
    measure = ("benchmark", model, "--target", target, "--seconds", "0.1")
    before = set_up(target, tmp_path, until=moment)
    assert any(line.startswith(moment) for line in before)
    refused = command(*measure, cwd=tmp_path, **environment)
    assert refused.returncode == 3
    assert f"edgedl target setup {target}" in refused.stderr
    again = set_up(target, tmp_path)
    downloaded = [line for line in before if line.startswith("downloading") and not line.startswith(moment)]
    assert not set(downloaded) & set(again), "what was downloaded whole was downloaded again"
    done = command(*measure, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert set_up(target, tmp_path) == []
    assert command("target", "remove", target, cwd=tmp_path, **environment).returncode == 0
    assert not (tmp_path / "targets" / target).exists()


@pytest.mark.parametrize("target", ["mcu", "mcu:arduino-nano-33-ble"])
def test_microcontrollers_have_no_set_up_to_interrupt(target: str, tmp_path: Path, command: Run) -> None:
    done = command("target", "setup", target, cwd=tmp_path, EDGEDL_TARGETS=str(tmp_path / "targets"))
    assert (done.returncode, done.stderr) == (2, "edgedl: target 'mcu' needs no set-up\n")
    assert not (tmp_path / "targets").exists()

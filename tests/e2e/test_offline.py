"""edgedl sends nothing anywhere, and neither do the engines that it starts: no name is looked up and no connection made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EDGEDL = str(Path(sys.executable).with_name("edgedl"))
NET = "import torch\nfrom torch import nn\ntorch.manual_seed(0)\nnet = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))\n"
VERBS = (
    "export net.py:net --input x=1x64 --to onnx --to tflite -o out",
    "quantize out/net.onnx --scheme w8 --allow-slower",
    "quantize out/net.tflite --scheme w8 --allow-slower",
    "inspect out/net.onnx",
    "verify out/net.tflite",
    "compare out/net.onnx out/net.w8.onnx",
    "benchmark out/net.onnx --runtime openvino --seconds 0.05 --rounds 6 -o out/record.json",
    "report out/record.json -o out/report.html",
)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that records what would reach the network."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a C compiler on Linux is needed")
    library = tmp_path_factory.mktemp("guard") / "guard.so"
    source = Path(__file__).with_name("network_guard.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def _guarded(guard: Path, folder: Path, *command: str) -> tuple[subprocess.CompletedProcess[str], str]:
    log = folder / "network.log"
    environment = {**os.environ, "LD_PRELOAD": str(guard), "NETWORK_LOG": str(log)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done, log.read_text() if log.exists() else ""


def test_the_guard_sees_a_lookup(guard: Path, tmp_path: Path) -> None:
    program = "import socket; socket.create_connection(('analytics.invalid', 443))"
    assert _guarded(guard, tmp_path, sys.executable, "-c", program)[1] == "lookup analytics.invalid\n"


def test_no_engine_reaches_the_network(guard: Path, tmp_path: Path) -> None:
    """`doctor` computes something in every engine."""
    done, seen = _guarded(guard, tmp_path, EDGEDL, "doctor")
    assert (done.returncode, seen) == (0, ""), done.stdout + done.stderr


@pytest.mark.slow
def test_no_verb_reaches_the_network(guard: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    for verb in VERBS:
        done, seen = _guarded(guard, tmp_path, EDGEDL, *verb.split())
        assert (done.returncode, seen) == (0, ""), f"{verb}: {done.stdout}{done.stderr}"

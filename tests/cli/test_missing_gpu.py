"""`--device cuda` on a machine without a GPU: one sentence, and exit code 3."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import onnxruntime
import pytest

from conftest import Run


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_missing_gpu_is_one_sentence(command: Run, tmp_path: Path, device: str) -> None:
    model = str(files("edgedl") / "models" / "sum.onnx")
    done = command("benchmark", model, "--device", device, cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"device {device!r} is not here" in done.stderr

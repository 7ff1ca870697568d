"""CPU time of `edgedl.export` with its verification, over the bare library calls: `python benchmarks/export_cost.py [ROUNDS]`.

Each measurement is a process of its own, as a user's call is; both sides import the same libraries.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from _ratio import sentence

_MODEL = """
import torch
from edgedl.zoo.digits import DigitsCNN
from edgedl.zoo._digits_data import example
torch.manual_seed(0)
module = DigitsCNN().eval()
image = torch.from_numpy(example()["image"])
"""
_BARE = {
    "onnx": _MODEL
    + """
import onnx, onnxruntime
batch = {0: torch.export.Dim("batch")}
torch.onnx.export(module, (image.repeat(2, 1, 1, 1),), "/dev/null", dynamo=True, dynamic_shapes=(batch,), external_data=False)
""",
    "tflite": _MODEL
    + """
import litert_torch
litert_torch.convert(module, (image,)).export("/dev/null")
""",
}
_OURS = """
import tempfile, edgedl
with tempfile.TemporaryDirectory() as folder:
    edgedl.export("zoo:digits", ["{format}"], folder)
"""


def cpu_seconds(code: str) -> float:
    """User and system seconds of a Python process and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for format, bare in _BARE.items():
        ratios = [cpu_seconds(_OURS.format(format=format)) / cpu_seconds(bare) for _ in range(rounds)]
        print(sentence(f"export and verify over the bare export, {format}", ratios, 1.5))


if __name__ == "__main__":
    main()

"""The benchmark programs that the engines bring for Android."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import InvalidInput, Unsupported
from edgedl.measure import Plan
from edgedl.targets.adb import transcript
from edgedl.targets.adb.transcript import Reading

FOLDER = "/data/local/tmp/edgedl"
"""the one folder of a device where the shell may write and start programs"""


@dataclass(frozen=True)
class Tool:
    """name: of its file on the device. marker: what only its file holds. engine, runtime: whose it is, and its plugin.

    words: (path of the model, plan, threads) -> its arguments for one round. profiling: what makes it tell its operators.
    """

    name: str
    engine: str
    runtime: str
    format: str
    marker: bytes
    words: Callable[[str, Plan, int], tuple[str, ...]]
    read: Callable[[str], Reading]
    profiling: str = ""

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.name}"


def _litert(model: str, plan: Plan, threads: int) -> tuple[str, ...]:
    return (
        f"--graph={model}", f"--num_threads={threads}", f"--num_runs={plan.runs_per_round}",
        f"--min_secs={plan.seconds_per_round:g}", f"--warmup_runs={max(1, plan.warmup_runs)}",
        f"--warmup_min_secs={plan.warmup_seconds:g}", f"--max_secs={plan.timeout:g}",
    )  # fmt: skip


def _ort(model: str, plan: Plan, threads: int) -> tuple[str, ...]:
    """-I: inputs of random numbers. -s: the percentiles and the fastest. -Z: idle threads do not spin."""
    return ("-e", "cpu", "-m", "times", "-r", str(plan.runs_per_round), "-x", str(threads), "-s", "-Z", "-I", model)


TOOLS = (
    Tool(
        "benchmark_model", "LiteRT", "litert", "tflite", b"Inference timings in us", _litert, transcript.litert,
        "--enable_op_profiling=true",
    ),
    Tool("onnxruntime_perf_test", "ONNX Runtime", "ort", "onnx", b"Session creation time cost", _ort, transcript.ort),
)  # fmt: skip


def recognised(path: Path) -> Tool:
    """Which of the programs a file is, by its contents; InvalidInput for another one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"--set binary={path}: {error.strerror}; expected {_expected()}") from error
    for tool in TOOLS:
        if tool.marker in data:
            return tool
    raise InvalidInput(f"--set binary={path} is neither of the programs that are known: expected {_expected()}")


def of_format(fmt: str) -> Tool:
    """Unsupported for a format that no known program runs."""
    for tool in TOOLS:
        if tool.format == fmt:
            return tool
    raise Unsupported(f"no program that is known here measures .{fmt} files on Android: expected {_expected()}")


def _expected() -> str:
    return " or ".join(f"{tool.engine}'s {tool.name} (for .{tool.format})" for tool in TOOLS)

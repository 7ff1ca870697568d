"""Made-up measurements for the tests of edgedl.measure and edgedl.report, and what they must be like themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgedl.measure import BenchmarkRecord, Environment, Failure, Measured, Memory, Plan, Round

PLAN = Plan(runs=400, seconds=0.1, rounds=20)
ENVIRONMENT = Environment(
    "Test CPU", 4, ("avx2",), 8_000_000_000, "Linux test", "CPython 3.11", {"numpy": "2.0"}, "2026-01-02T03:04:05+00:00"
)
ENGINES = {
    "onnx": ("ort", "onnxruntime 1.0"),
    "tflite": ("litert", "ai-edge-litert 1.0"),
    "torch": ("torch", "torch 1.0"),
}


def rounds(
    microseconds: float, seed: int = 0, noise: float = 0.02, count: int = 20, runs: int = 20
) -> tuple[Round, ...]:
    """Rounds of one subject; subjects of one seed share what slows the machine in each round."""
    shared = np.random.default_rng(seed).lognormal(0, 0.05, count)
    own = np.random.default_rng(hash((microseconds, seed)) % 2**32)
    level = 1000 * microseconds * shared * own.lognormal(0, noise, count)
    samples = (level[:, None] * own.lognormal(0, 0.01, (count, runs))).astype(int)
    return tuple(Round.of(0, row, float(row.sum()) / 1e9, 0, at=0.1 * n, seconds=0.1) for n, row in enumerate(samples))


def measured(source: str, microseconds: float, /, threads: int = 1, **changes: object) -> Measured:
    """A subject as the harness would have found it; `net:task` is the original."""
    fmt = "torch" if ":" in source else source.rpartition(".")[2]
    runtime, engine = ENGINES[fmt]
    figures: dict[str, object] = {
        "label": f"{source} in {runtime}", "source": source, "format": fmt, "runtime": runtime, "device": "cpu",
        "threads": threads, "engine": engine, "inputs": "golden", "input_shapes": {"x": (1, 8)}, "import_seconds": 0.1,
        "load_seconds": 0.01, "first_ns": 90_000, "memory": Memory(20_000_000, 40_000_000, 50_000_000, 48_000_000),
        "rounds": rounds(microseconds),
    }  # fmt: skip
    return Measured(**{**figures, **changes})  # type: ignore[arg-type]


def failed(source: str) -> Measured:
    return measured(
        source, 1, rounds=(), engine=None, failure=Failure("EngineFailed", "the process crashed with SIGSEGV")
    )


def record(*subjects: Measured) -> BenchmarkRecord:
    return BenchmarkRecord(subjects, PLAN, ENVIRONMENT)


def evidence(
    scheme: str = "fp32", drop: float = 0.0, passed: bool = True, value: float = 0.989
) -> Mapping[str, object]:
    """As verification writes it into a manifest."""
    error = 1e-6 if scheme == "fp32" else 0.012
    case = {
        "case": "batch=1",
        "output": "logits",
        "finite": True,
        "max_abs": error,
        "relative_rms": error,
        "cosine": 0.9999,
    }
    score = {
        "name": "accuracy",
        "value": value - drop,
        "reference": value,
        "drop": drop,
        "interval": [drop - 0.002, drop + 0.002],
    }
    return {"passed": passed, "failures": [] if passed else ["batch=1: too far off"], "parity": [case], "score": score}


def test_made_up_medians_are_what_was_asked_for() -> None:
    medians = [np.median(r.wall_ns) for r in rounds(120.0)]
    assert abs(np.median(medians) / 120_000 - 1) < 0.1


def test_a_record_tells_the_finished_from_the_failed() -> None:
    made = record(measured("a.onnx", 10), failed("b.onnx"))
    assert [subject.source for subject in made.finished] == ["a.onnx"]
    assert made.summaries[1] is None

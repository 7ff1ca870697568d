"""What LiteRT's benchmark_model and ONNX Runtime's onnxruntime_perf_test print, read.

The formats are those of tensorflow/lite/tools/benchmark/benchmark_model.cc and
onnxruntime/test/perftest/performance_runner.cc and main.cc; a line may carry a log's prefix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgedl.errors import EngineFailed
from edgedl.measure import OperatorCost

_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
MIB = 1 << 20


@dataclass(frozen=True)
class Reading:
    """One call of a program. mean_ns, fastest_ns, first_ns, load_ns: nanoseconds; fastest is None where it is not told.

    runs: of which the mean is. memory: bytes, as `memory_is` says; None where it is not told.
    """

    mean_ns: float
    first_ns: float
    load_ns: float
    runs: int
    fastest_ns: float | None = None
    memory: float | None = None
    memory_is: str = ""


def litert(text: str) -> Reading:
    """From benchmark_model. EngineFailed, with its last words, where it gave no figures."""
    timings = _search(
        rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}",
        text,
    )
    if not timings:
        raise _no_figures(text)
    load, first, _, mean = (1e3 * number for number in timings)
    counts = re.findall(rf"count={_NUMBER}(?: first=\S+)? curr={_NUMBER}(?: min={_NUMBER})?", text)
    runs, current, fastest = counts[-1] if counts else ("1", "", "")
    memory = _search(
        rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): init={_NUMBER} overall={_NUMBER}",
        text,
    )
    return _checked(
        Reading(
            mean, first, load, int(float(runs)), 1e3 * float(fastest or current) if counts else None,
            memory[1] * MIB if memory else None, "memory above the start of the program",
        )
    )  # fmt: skip


def ort(text: str) -> Reading:
    """From onnxruntime_perf_test, as `litert`."""
    mean = _search(rf"Average inference time cost(?: total)?: ?{_NUMBER} ms", text)
    load = _search(rf"Session creation time cost: ?{_NUMBER} s", text)
    if not mean or not load:
        raise _no_figures(text)
    first = _search(rf"First inference time cost: ?{_NUMBER} ms", text)
    runs = _search(rf"Total inference requests: ?{_NUMBER}", text)
    fastest = _search(rf"Min Latency: ?{_NUMBER} s", text)
    memory = _search(rf"Peak working set size: ?{_NUMBER} bytes", text)
    return _checked(
        Reading(
            1e6 * mean[0], 1e6 * first[0] if first else 1e6 * mean[0], 1e9 * load[0], int(runs[0]) if runs else 1,
            1e9 * fastest[0] if fastest else None, memory[0] if memory else None, "peak memory of the program",
        )
    )  # fmt: skip


def operators(text: str) -> tuple[OperatorCost, ...]:
    """The rows of the last `Run Order` table of benchmark_model, by its own column names; () where there is none."""
    found: tuple[OperatorCost, ...] = ()
    lines = iter(text.splitlines())
    for line in lines:
        if re.search(r"=+ Run Order =+", line):
            found = tuple(_rows(lines)) or found
    return found


def _rows(lines: Iterator[str]) -> Iterator[OperatorCost]:
    titles = _cells(next(lines, ""))
    places = {title.strip("[]").lower(): place for place, title in enumerate(titles)}
    wanted = [places.get("node type"), places.get("avg ms", places.get("avg_ms")), places.get("name")]
    for line in lines:
        cells = _cells(line)
        if len(cells) != len(titles) or None in wanted:
            return
        kind, mean, name = (cells[place] for place in wanted if place is not None)
        if not re.fullmatch(_NUMBER, mean) or not float(mean) < 1e9:
            return
        yield OperatorCost(name.strip("[]"), kind, 1e6 * float(mean), 0, 0, None)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")[1:]]


def _search(pattern: str, text: str) -> list[float]:
    """The numbers of the last match; [] where there is none."""
    found = [match.groups() for match in re.finditer(pattern, text)]
    return [float(number) for number in found[-1]] if found else []


def _checked(reading: Reading) -> Reading:
    """EngineFailed for figures that no run can have."""
    figures = (reading.mean_ns, reading.first_ns, reading.load_ns, reading.fastest_ns or 0.0, reading.memory or 0.0)
    if (
        not all(math.isfinite(figure) and figure < 1e18 for figure in figures)
        or reading.mean_ns <= 0
        or reading.runs < 1
    ):
        raise EngineFailed(f"the benchmark program gave figures that no run can have: {reading}")
    return reading


def _no_figures(text: str) -> EngineFailed:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|fail|unable|cannot", line, re.IGNORECASE)]
    last = (errors or lines or ["it printed nothing"])[-1]
    return EngineFailed(f"the benchmark program gave no figures: {last[:200]}")

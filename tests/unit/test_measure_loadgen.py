"""Percentiles against MLPerf's own load generator, run on a system that answers after a random time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl.measure import statistics

loadgen: Any = pytest.importorskip("mlperf_loadgen", reason="pip install mlcommons-loadgen")
LEVELS = (0.5, 0.9, 0.95, 0.97, 0.99)
RESULT = re.compile(r'"key": "result_(\d\d\.\d\d)_percentile_latency_ns", "value": (\d+)')
ESTIMATE = re.compile(r"Early stopping (\d\d\.\d)th percentile estimate: (\d+)")
REFUSAL = re.compile(r"Not enough queries processed for (\d\d\.\d)th percentile\s+early stopping estimate \(would need to "
                     r"process at\s+least (\d+) total queries\)")  # fmt: skip


def _log(folder: Path, queries: int, seed: int) -> None:
    """One single-stream run of loadgen over so many queries."""
    spins = iter(np.random.default_rng(seed).lognormal(3, 1, queries).astype(int))

    def issue(samples: Any) -> None:
        sum(range(next(spins)))
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(64, 64, lambda indices: None, lambda indices: None)
    settings, log = loadgen.TestSettings(), loadgen.LogSettings()
    settings.scenario, settings.mode = loadgen.TestScenario.SingleStream, loadgen.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = queries
    settings.min_duration_ms = 0
    output, log.enable_trace = loadgen.LogOutputSettings(), True
    output.outdir, output.copy_summary_to_stdout = str(folder), False
    log.log_output = output
    loadgen.StartTestWithLogSettings(system, library, settings, log, "none.conf")
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(system)


def _latencies(folder: Path) -> statistics.Samples:
    """From the trace, which loadgen writes line by line and not as whole JSON."""
    trace = (folder / "mlperf_log_trace.json").read_text()
    return np.array(re.findall(r'"name":"Sample",.*"complete_ns":(\d+)', trace), np.int64)


def _compare(folder: Path, queries: int, seed: int) -> None:
    _log(folder, queries, seed)
    samples = _latencies(folder)
    assert len(samples) == queries
    ours = {level: statistics.percentile(samples, level) for level in LEVELS}
    told = {float(level) / 100: int(ns) for level, ns in RESULT.findall((folder / "mlperf_log_detail.txt").read_text())}
    for level in LEVELS:
        assert ours[level].value in (None, told[level])
    summary = (folder / "mlperf_log_summary.txt").read_text()
    bounds = {float(level) / 100: int(ns) for level, ns in ESTIMATE.findall(summary)}
    refused = {float(level) / 100: int(needed) for level, needed in REFUSAL.findall(summary)}
    assert bounds.keys() | refused.keys() >= {0.99}
    assert {level: ours[level].bound for level in bounds} == bounds
    assert {level: (ours[level].bound, ours[level].needed) for level in refused} == {
        level: (None, needed) for level, needed in refused.items()
    }


def _queries(count: int) -> list[int]:
    """Below, at and above the numbers from which percentiles may be given."""
    edges = [64, 65, 130, 219, 661, 662, 663]
    return [*edges, *np.random.default_rng(0).integers(64, 1500, count - len(edges)).tolist()]


def test_percentiles_are_those_of_loadgen(tmp_path: Path) -> None:
    for seed, queries in enumerate(_queries(20)):
        _compare(tmp_path, queries, seed)


@pytest.mark.slow
def test_percentiles_are_those_of_loadgen_on_a_thousand_logs(tmp_path: Path) -> None:
    for seed, queries in enumerate(_queries(1000)):
        _compare(tmp_path, queries, seed)

"""What each operator of a TFLite file takes: LiteRT has no profiler in Python, so each runs as a model of its own.

The pieces get the values that they get in the whole model, and run in the same kernels with the same threads. What is lost
is what the whole shares: operators that are fused across pieces, and weights that another operator drove out of the cache.
The sum over the pieces stands beside the whole, timed the same way, and tells how much that is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import Unavailable
from edgedl.exporter import Piece
from edgedl.measure.profile import OperatorCost, Profile
from edgedl.runtime import Options, Source, option_value
from edgedl.spec import Feeds
from edgedl_litert.engine import KERNELS, open_interpreter
from edgedl_litert.session import LitertSession

HOW = "each operator as a model of its own, on the values that it gets"
ROUNDS = 5
Work = Callable[[], object]


def profile(source: Source, threads: int | None, options: Options, feeds: Feeds, runs: int) -> Profile:
    """The median over rounds, in each of which every piece has its turn of `runs` / 5 runs."""
    assert isinstance(source, Artifact)
    exporter = _exporter()
    parts: list[Piece] = list(exporter.pieces(source.path, feeds))
    session = LitertSession(source, "cpu", threads, options)
    kernels = option_value(options, "kernels", KERNELS, "xnnpack")
    work: list[Work] = [lambda: session.run(feeds), *(_alone(part, threads, kernels) for part in parts)]
    per_round = max(1, runs // ROUNDS)
    rounds = [[_nanoseconds(one, per_round) for one in work] for _ in range(ROUNDS + 1)]
    whole_ns, *medians = np.median(rounds[1:], axis=0).tolist()
    costs = tuple(
        OperatorCost(part.name, part.kind, ns, part.bytes_in, part.bytes_out, part.macs)
        for part, ns in zip(parts, medians, strict=True)
    )
    return Profile(HOW, ROUNDS * per_round, whole_ns, costs, least_bytes=exporter.least_bytes(source.path, feeds))


def _exporter() -> Any:
    try:
        return registry.exporter("tflite")
    except Unavailable as error:
        raise Unavailable(
            "LiteRT has no profiler, and what cuts the file into its operators is not installed where it runs: "
            "profile it on a machine with edgedl[tflite]"
        ) from error


def _alone(part: Piece, threads: int | None, kernels: str) -> Work:
    """The engine's own `Invoke` on the piece, with the inputs set; the interpreter has read its file when this returns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "piece.tflite"
        path.write_bytes(part.content)
        interpreter = open_interpreter(path, threads, kernels)
    for detail, array in zip(interpreter.get_input_details(), part.inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    return interpreter.invoke  # type: ignore[no-any-return]


def _nanoseconds(work: Work, runs: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(runs):
        work()
    return (time.perf_counter_ns() - start) / runs

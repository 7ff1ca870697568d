"""ONNX Runtime's own profile: what each node took, what it read and wrote, and the arena's peak.

https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html. Times are whole microseconds; the average
over many runs is finer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed
from edgedl.measure.profile import OperatorCost, Profile
from edgedl.runtime import Options, Source
from edgedl.spec import Feeds
from edgedl_ort.session import open_session, session_options

HOW = "ONNX Runtime's profiler, in a run of its own"
_SUFFIX = "_kernel_time"
Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Node:
    """One execution of one node. start, micros: whole microseconds. bytes_in: of activations and weights."""

    name: str
    kind: str
    start: int
    micros: int
    bytes_in: int
    bytes_out: int
    inputs: Shapes
    outputs: Shapes
    arena_peak: int


def read(path: Path) -> tuple[list[Node], list[int]]:
    """(node executions in order, microseconds of each run); EngineFailed if the file is cut off, as on a full disk.

    A node inside another one's body (If, Loop, Scan) is part of that one.
    """
    try:
        events = json.loads(path.read_text())
        nodes = [_node(event) for event in events if event["cat"] == "Node" and event["name"].endswith(_SUFFIX)]
        runs = [int(event["dur"]) for event in events if event["name"] == "model_run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineFailed(f"ONNX Runtime left no whole profile in {path}: {error}") from error
    return list(_outermost(nodes)), runs


def _node(event: dict[str, Any]) -> Node:
    told = event["args"]
    return Node(
        event["name"].removesuffix(_SUFFIX), told["op_name"], int(event["ts"]), int(event["dur"]),
        int(told.get("activation_size", 0)) + int(told.get("parameter_size", 0)), int(told.get("output_size", 0)),
        _shapes(told.get("input_type_shape")), _shapes(told.get("output_type_shape")), int(told.get("mem_in_use_peak", 0)),
    )  # fmt: skip


def _shapes(listed: Any) -> Shapes:
    return [tuple(shape) for entry in listed or [] for shape in entry.values()]


def _outermost(nodes: list[Node]) -> Iterator[Node]:
    end = -1
    for node in sorted(nodes, key=lambda node: (node.start, -node.micros)):
        if node.start >= end or node.start + node.micros > end:
            yield node
            end = node.start + node.micros


def profile(
    source: Source, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int
) -> Profile:
    """Every node of the optimized graph, averaged over `runs`; the first run is left out.

    Weights that the engine repacks vanish from its profile, so one more run without repacking tells shapes and bytes.
    """
    assert isinstance(source, Artifact)
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = _trace(source, device, threads, options, sets, 1, Path(folder) / "plain", repack=False)
        nodes, whole = _trace(source, device, threads, options, sets, runs + 1, Path(folder) / "timed")
    told = {node.name: node for node in plain}
    later = nodes[len(nodes) // (runs + 1) :]
    names = dict.fromkeys(node.name for node in later)
    micros: dict[str, list[int]] = {name: [] for name in names}
    for node in later:
        micros[node.name].append(node.micros)
    first = {node.name: node for node in later}
    costs = tuple(_cost(told.get(name, first[name]), micros[name], runs) for name in names)
    peak = max(node.arena_peak for node in nodes)
    return Profile(HOW, runs, 1e3 * _middle(whole[1:]), costs, arena_bytes=peak or None)


def _trace(
    source: Artifact, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int,
    prefix: Path, repack: bool = True,
) -> tuple[list[Node], list[int]]:  # fmt: skip
    settings = session_options(threads, options)
    settings.enable_profiling, settings.profile_file_prefix = True, str(prefix)
    if not repack:
        settings.add_session_config_entry("session.disable_prepacking", "1")
    session = open_session(source, device, settings, options)
    for number in range(runs):
        session.run(None, dict(sets[number % len(sets)]))
    return read(Path(session.end_profiling()))


def _cost(node: Node, micros: list[int], runs: int) -> OperatorCost:
    """A node that ran several times in one run, as in no graph of today, counts as often."""
    times = max(1, round(len(micros) / runs))
    return OperatorCost(node.name, node.kind, 1e3 * _middle(micros) * times, node.bytes_in, node.bytes_out, macs(node))


def _middle(values: list[int]) -> float:
    """The mean without the lowest and the highest tenth: whole microseconds need averaging, and bursts none of it."""
    ordered, cut = np.sort(values), len(values) // 10
    return float(ordered[cut : len(ordered) - cut].mean())


def macs(node: Node) -> int | None:
    """Multiply-accumulates from the shapes that ran; 0 for operators that multiply no matrices, None where it is not known."""
    if node.kind in _UNKNOWN:
        return None
    try:
        return _COSTS[node.kind](node.inputs, node.outputs) if node.kind in _COSTS else 0
    except IndexError:
        return None


def _conv(weight: int) -> Callable[[Shapes, Shapes], int]:
    """Each output element sums over one filter: [out, in per group, kernel...]."""
    return lambda inputs, outputs: prod(outputs[0]) * prod(inputs[weight][1:])


def _product(inputs: Shapes, outputs: Shapes) -> int:
    return prod(outputs[0]) * inputs[0][-1]


def _recurrent(inputs: Shapes, outputs: Shapes) -> int:
    """Each step multiplies by all of W and R; the input is [steps, batch, width]."""
    return prod(inputs[0][:2]) * (prod(inputs[1]) + prod(inputs[2]))


_COSTS: dict[str, Callable[[Shapes, Shapes], int]] = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger"), _conv(1)),
    "QLinearConv": _conv(3),
    "ConvTranspose": lambda inputs, outputs: prod(inputs[0]) * prod(inputs[1][1:]),
    **dict.fromkeys(("Gemm", "QGemm"), lambda inputs, outputs: prod(inputs[0]) * outputs[0][-1]),
    **dict.fromkeys(
        ("MatMul", "FusedMatMul", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
         "QLinearMatMul", "MatMulNBits"), _product,
    ),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
}  # fmt: skip
_UNKNOWN = {"Attention", "MultiHeadAttention", "QAttention", "GroupQueryAttention", "Einsum", "If", "Loop", "Scan"}

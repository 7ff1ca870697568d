"""Where a failed artifact diverges first, and which line of the user's Python made that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.exporter import Exporter, Program
from edgedl.spec import Array, Feeds
from edgedl.verify.matching import Tensor, layouts
from edgedl.verify.nodes import Node, TorchGraph
from edgedl.verify.pairing import gap, sampled_gaps

MUCH_NEARER = 2.0
"""A tensor is not taken for a node where another node is so many times nearer to it."""
ROUNDING = 1e-2
"""Share of the tolerance within which nodes are equally near."""
LEAST_SPREAD = 1e-2
"""Standard deviation of a tensor that tells something, as a share of its largest value."""
SLACK = 3.0
"""By so much a sample of a tensor may be further off than the whole."""


@dataclass(frozen=True)
class Culprit:
    """tensor: the torch node that no tensor of the artifact equals any more. line: `net.py:12`, or None where torch kept none.

    after: the last node before it that agrees, or None.
    """

    tensor: str
    line: str | None
    after: str | None

    def __str__(self) -> str:
        where = f" (made at {self.line})" if self.line else ""
        return f"{self.tensor}{where} is the first tensor that diverges" + (
            f"; {self.after} before it agrees" if self.after else ""
        )


def find_culprit(program: Program, exporter: Exporter, path: Path, feeds: Feeds, tolerance: float) -> Culprit | None:
    """Compare every node of the torch graph with the artifact's tensors; `feeds` in the task's layout, float32 results.

    Engines fuse and rename: a node without an equal tensor is innocent as long as a node that depends on it has one.
    """
    graph = TorchGraph(program, feeds)
    nodes = graph.nodes(feeds)
    tensors = [Tensor(name, array) for name, array in exporter.intermediates(path, program.laid_out(feeds))]
    matched = _matched(nodes, tensors, graph.outputs, tolerance)
    innocent = _ancestors(nodes, matched)
    after = None
    for node in nodes:
        if node.name not in innocent:
            return Culprit(node.name, node.line, after)
        after = node.name if node.name in matched else after
    return None


def _matched(
    nodes: Sequence[Node], tensors: Sequence[Tensor], outputs: Mapping[str, str], tolerance: float
) -> set[str]:
    """The nodes that have their like: an output under its own name, any other node in a tensor that is like no other node."""
    own = {tensor.name: tensor.value for tensor in tensors}
    found = set()
    for size in {node.value.size for node in nodes}:
        of_size = [tensor for tensor in tensors if tensor.value.size == size]
        found |= _alike([node for node in nodes if node.value.size == size], of_size, tolerance) if of_size else set()
    for node in nodes:
        there = own.get(outputs.get(node.name, ""))
        if there is not None and there.size == node.value.size:
            found = found - {node.name} if _gap(node.value, there) > tolerance else found | {node.name}
    return found


def _alike(nodes: Sequence[Node], tensors: Sequence[Tensor], tolerance: float) -> set[str]:
    """The names of the nodes that a tensor agrees with, and is not much nearer to another node."""
    gaps = sampled_gaps([[Tensor(n.name, n.value)] for n in nodes], [[tensor] for tensor in tensors]).min(0)
    near = (gaps <= SLACK * tolerance) & (gaps <= MUCH_NEARER * gaps.min(0) + ROUNDING * tolerance)
    return {
        node.name
        for node, row in zip(nodes, near, strict=True)
        if any(_gap(node.value, tensors[int(j)].value) <= tolerance for j in np.flatnonzero(row))
    }


def _gap(want: Array, got: Array) -> float:
    return min(gap(layout, got) for layout in layouts(want))


def _tells(value: Array) -> bool:
    """Whether agreeing on it says anything of what it was made from: what is nearly one number everywhere agrees by chance."""
    finite = value[np.isfinite(value)].astype(np.float64)
    return finite.size < value.size or bool(finite.std() > LEAST_SPREAD * np.abs(finite).max())


def _ancestors(nodes: Sequence[Node], matched: set[str]) -> set[str]:
    """The matched nodes and all that those were computed from."""
    innocent, sources = set(matched), {node.name for node in nodes if node.name in matched and _tells(node.value)}
    for node in reversed(nodes):
        if node.name in sources:
            sources.update(node.parents)
    return innocent | sources

"""Where a failed artifact diverges first, and which line of the user's Python made that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedl.exporter import Exporter, Program
from edgedl.spec import Array, Feeds
from edgedl.verify.matching import layouts
from edgedl.verify.nodes import Node, TorchGraph
from edgedl.verify.parity import relative_rms


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
    nodes = TorchGraph(program, feeds).nodes(feeds)
    tensors = _by_size(exporter.intermediates(path, program.laid_out(feeds)))
    matched = {
        node.name for node in nodes if any(_agrees(node.value, t, tolerance) for t in tensors.get(node.value.size, ()))
    }
    innocent = _ancestors(nodes, matched)
    after = None
    for node in nodes:
        if node.name not in innocent:
            return Culprit(node.name, node.line, after)
        after = node.name if node.name in matched else after
    return None


def _by_size(tensors: Any) -> dict[int, list[Array]]:
    sizes: dict[int, list[Array]] = {}
    for _, array in tensors:
        sizes.setdefault(array.size, []).append(array)
    return sizes


def _agrees(want: Array, got: Array, tolerance: float) -> bool:
    return any(relative_rms(got.ravel(), layout.ravel()) <= tolerance for layout in layouts(want))


def _ancestors(nodes: Sequence[Node], matched: set[str]) -> set[str]:
    """The matched nodes and all that they were computed from."""
    innocent = set(matched)
    for node in reversed(nodes):
        if node.name in innocent:
            innocent.update(node.parents)
    return innocent

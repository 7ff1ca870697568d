"""Where a failed artifact diverges first, and which line of the user's Python made that."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedl.exporter import Exporter, Program
from edgedl.source_lines import user_line
from edgedl.spec import Array, Feeds
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


@dataclass(frozen=True)
class _Node:
    name: str
    line: str | None
    parents: tuple[str, ...]
    value: Array


def find_culprit(program: Program, exporter: Exporter, path: Path, feeds: Feeds, tolerance: float) -> Culprit | None:
    """Compare every node of the torch graph with the artifact's tensors; `feeds` in the task's layout, float32 results.

    Engines fuse and rename: a node without an equal tensor is innocent as long as a node that depends on it has one.
    """
    nodes = list(_torch_nodes(program, feeds))
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


class _Recorder(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.nodes: list[_Node] = []

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if (
            n.op == "call_function"
            and isinstance(value, torch.Tensor)
            and value.dtype == torch.float32
            and value.numel() > 1
        ):
            parents = tuple(parent.name for parent in n.all_input_nodes)
            self.nodes.append(_Node(n.name, user_line(n.meta.get("stack_trace")), parents, value.numpy().copy()))
        return value


def _torch_nodes(program: Program, feeds: Feeds) -> Iterator[_Node]:
    arguments = tuple(torch.from_numpy(feeds[name]) for name in program.inputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorder = _Recorder(torch.export.export(program.module, arguments).module())
        recorder.run(*arguments)
    yield from recorder.nodes


def _by_size(tensors: Any) -> dict[int, list[Array]]:
    sizes: dict[int, list[Array]] = {}
    for _, array in tensors:
        sizes.setdefault(array.size, []).append(array)
    return sizes


def _agrees(want: Array, got: Array, tolerance: float) -> bool:
    """Equal as they lie or, for rank 3 and more, with the channels last; the shapes may differ by axes of length 1."""
    layouts: Sequence[Array] = (want,) if want.ndim < 3 else (want, np.moveaxis(want, 1, -1), np.swapaxes(want, -1, -2))
    return any(relative_rms(got.ravel(), layout.ravel()) <= tolerance for layout in layouts)


def _ancestors(nodes: Sequence[_Node], matched: set[str]) -> set[str]:
    """The matched nodes and all that they were computed from."""
    innocent = set(matched)
    for node in reversed(nodes):
        if node.name in innocent:
            innocent.update(node.parents)
    return innocent

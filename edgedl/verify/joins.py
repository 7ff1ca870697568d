"""Which elements of an output were joined from which parts: concatenations are followed through one run of the original.

The run carries a number for each element of a joined tensor. Operators that only move elements move the numbers;
operators that work element by element keep them; any other operator mixes elements and ends the trail.
"""

from __future__ import annotations

import itertools
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgedl.exporter import Program
from edgedl.module_copy import shared_copy
from edgedl.source_lines import user_line
from edgedl.spec import Array, Feeds
from edgedl.verify.slices import Joined

MOST = 64
"""Parts of one tensor that are told apart; what a joined tensor of more was joined from is one part."""
LONGEST_JOIN = 16
"""Tensors in one concatenation that are told apart: more are steps of a sequence, not parts."""
_JOINS = ("cat", "stack")
_WHOLE = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_MOVES = (
    "view", "_unsafe_view", "_reshape_alias", "reshape", "permute", "transpose", "t", "slice", "select", "split", "split_with_sizes",
    "unbind", "squeeze", "unsqueeze", "expand", "repeat", "index_select", "flip", "roll", "alias", "detach", "unfold",
)  # fmt: skip


def joined_parts(program: Program) -> Callable[[Feeds], dict[str, Joined]]:
    """What takes inputs and gives, for every output that was joined from parts, which element is of which part."""

    def parts(feeds: Feeds) -> dict[str, Joined]:
        trail = _Trail()
        tensors = [torch.from_numpy(np.array(feeds[name])) for name in program.inputs]
        module = shared_copy(program.module)
        with torch.inference_mode(), trail:
            outputs = module(*tensors)
        found = zip(program.outputs, map(trail.labels_of, outputs), strict=False)
        return {name: Joined(labels, trail.lines) for name, labels in found if labels is not None}

    return parts


class _Trail(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """lines: number of a part -> the user's line that joined it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: dict[int, str | None] = {}
        self._labels: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._numbers = itertools.count()

    def labels_of(self, tensor: Any) -> Array | None:
        labels = self._known(tensor)
        return None if labels is None else labels.numpy()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name not in _WHOLE and func._can_decompose():
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if name in _JOINS:
            self._keep(result, self._joined(func, args, kwargs or {}))
        elif name in _MOVES and (labels := self._known(args[0])) is not None:
            moved = func(labels, *args[1:], **(kwargs or {}))
            for tensor, part in zip(_listed(result), _listed(moved), strict=True):
                self._keep(tensor, part)
        elif torch.Tag.pointwise in func.tags or name in ("clone", "_to_copy"):
            self._keep(result, self._elementwise(result, args))
        return result

    def _known(self, tensor: Any) -> torch.Tensor | None:
        kept, labels = self._labels.get(id(tensor), (None, None))
        return labels if kept and kept() is tensor else None

    def _keep(self, tensor: Any, labels: torch.Tensor | None) -> None:
        if labels is not None and isinstance(tensor, torch.Tensor):
            self._labels[id(tensor)] = (weakref.ref(tensor), labels)

    def _joined(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
        if len(args[0]) > LONGEST_JOIN:
            return None
        line = user_line("".join(traceback.format_stack()))
        return func([self._renumbered(tensor, line) for tensor in args[0]], *args[1:], **kwargs)  # type: ignore[no-any-return]

    def _renumbered(self, tensor: torch.Tensor, line: str | None) -> torch.Tensor:
        """Numbers of its own for what is joined: a part that is joined already keeps its parts."""
        known = self._known(tensor)
        parts, places = torch.zeros(1), torch.zeros(tensor.shape, dtype=torch.int64)
        if known is not None and known.numel():
            unique, inverse = torch.unique(known, return_inverse=True)
            parts, places = (unique, inverse) if len(unique) <= MOST else (parts, places)
        numbers = [next(self._numbers) for _ in parts]
        self.lines.update(dict.fromkeys(numbers, line))
        return torch.tensor(numbers)[places]

    def _elementwise(self, result: Any, args: Sequence[Any]) -> torch.Tensor | None:
        """The numbers of the first operand that has any."""
        if not isinstance(result, torch.Tensor):
            return None
        found = next((labels for labels in map(self._known, _tensors(args)) if labels is not None), None)
        return None if found is None or found.ndim > result.ndim else found.expand(result.shape)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _tensors(args: Sequence[Any]) -> Iterator[torch.Tensor]:
    return (value for value in args if isinstance(value, torch.Tensor))

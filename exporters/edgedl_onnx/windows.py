"""What each position of a convolution sees, in the order in which ONNX Runtime's integer kernels multiply it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from edgedl.spec import Array

ROWS = 1024
"""Rows of a matrix that are looked at in one run, drawn by a seeded generator where there are more."""


def drawn(count: int) -> Array:
    return np.arange(count) if count <= ROWS else np.random.default_rng(0).integers(0, count, ROWS)


@dataclass(frozen=True)
class Windows:
    """Padding by `auto_pad` is left out: its positions are not looked at."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, node: onnx.NodeProto, kernel: tuple[int, ...], groups: int) -> Windows:
        given = {attribute.name: tuple(attribute.ints) for attribute in node.attribute}
        ones, zeros = (1,) * len(kernel), (0,) * 2 * len(kernel)
        strides, dilations = given.get("strides", ones), given.get("dilations", ones)
        return cls(kernel, strides, dilations, given.get("pads", zeros), groups)

    def __call__(self, activations: Array, zero: int) -> list[Array]:
        """[batch, channels, ...] -> [rows, kernel positions x channels] for each group."""
        seen = self._seen(activations, zero)
        places = seen.shape[: 1 + len(self.kernel)]
        chosen = seen[np.unravel_index(drawn(prod(places)), places)]
        return [part.reshape(len(chosen), -1) for part in np.split(chosen, self.groups, axis=-1)]

    def _seen(self, activations: Array, zero: int) -> Array:
        """A view [batch, positions..., kernel..., channels]."""
        axes = len(self.kernel)
        border = [(0, 0), (0, 0), *zip(self.pads[:axes], self.pads[axes:], strict=True)]
        padded = np.pad(activations, border, constant_values=zero)
        spans = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        seen = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + axes)))
        every = [slice(None, None, step) for step in (*self.strides, *self.dilations)]
        return np.moveaxis(seen[(slice(None), slice(None), *every)], 1, -1)

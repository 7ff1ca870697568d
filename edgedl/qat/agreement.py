"""How near a file can be asked to be to the model that was trained: as near as that model is to itself.

Engines do not round alike. LiteRT's three sets of kernels, on one file, differ in one of a thousand outputs of a convolution, in one of
five of a mean; XNNPACK's hard swish is a table in fixed point. A value that is rounded the other way pushes others over
their edge, so that behind forty layers most differ by a step or more. How much that is depends on the network and not on the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from edgedl.exporter import Program
from edgedl.exporting import eager
from edgedl.module_copy import full_copy
from edgedl.schemes import Tolerance
from edgedl.spec import Feeds
from edgedl.verify.parity import relative_rms

NEAREST = 0.03
"""Relative RMS difference that is always allowed: a step of an output's rounding here and there."""
NUDGE = 1 / 64
"""Steps by which a value is pushed up or down before it is rounded, at the most: what kernels were seen to differ by"""
TIMES = 2.0
"""A file may be so many times as far from the trained model as that is from itself when it is nudged: one seed is one sample."""


def agreement(integers: Program, batches: Iterable[Feeds], scheme: Tolerance) -> float:
    """The largest relative RMS difference from `integers` that is agreement; never above what the scheme allows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nudged = apart(replace(integers, module=_nudged(integers.module)), integers, batches)
    return min(max(NEAREST, TIMES * nudged), scheme.relative_rms)


def apart(one: Program, other: Program, batches: Iterable[Feeds]) -> float:
    """The largest relative RMS difference of a float output of `one` from that of `other`."""
    pairs = ((eager(one)(feeds), eager(other)(feeds)) for feeds in batches)
    floats = ((got[name], want[name]) for got, want in pairs for name in want if want[name].dtype.kind == "f")
    return max((relative_rms(got, want) for got, want in floats), default=0.0)


def _nudged(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in which every activation is pushed by a random part of a step before it is rounded."""
    copied = full_copy(module)
    for graph in (part for part in copied.modules() if isinstance(part, torch.fx.GraphModule)):
        for node in graph.graph.nodes:
            if str(node.target) == "quantized_decomposed.quantize_per_tensor.default":
                node.target = _rounded_after_a_nudge
        graph.recompile()
    return copied


def _rounded_after_a_nudge(
    values: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    pushed = values + scale * NUDGE * (2 * torch.rand_like(values) - 1)
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    rounded: torch.Tensor = quantize(pushed, scale, zero_point, low, high, dtype)
    return rounded

"""What a model has to compute, layer by layer: the common words of exporters that read files and of predictors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = (
    "convolution", "convolution_3x3", "pointwise", "depthwise", "grouped", "dense", "nonlinear", "recurrent", "attention", "unknown",
)  # fmt: skip
"""convolution_3x3: with stride 1, which engines compute by Winograd's way. grouped: a convolution in groups of several
channels each. dense: weights that are used once per run.
nonlinear: an elementwise function other than a clip. attention: a product of two computed tensors."""


@dataclass(frozen=True)
class Operation:
    """One operator of a file that costs time. kind: of KINDS. operator: its name in the file.

    macs: multiply-accumulates of one run. elements: values read and written, without the weights; for a nonlinear
    layer those that it writes.
    """

    kind: str
    operator: str
    macs: int
    elements: int


@dataclass(frozen=True)
class Workload:
    """One run at the written shapes, dynamic axes as 1. scheme: how the numbers are stored, by edgedl's names."""

    layers: tuple[Operation, ...]
    scheme: str

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def features(self) -> Mapping[str, float]:
        """What a latency is fitted to: MACs by kind and in all, elements, nonlinear elements, and the number of layers.

        elements_3x3: those of convolution_3x3 layers, which Winograd's way transforms before and after the products.
        """
        found = dict.fromkeys(KINDS, 0.0)
        for layer in self.layers:
            found[layer.kind] += layer.elements if layer.kind == "nonlinear" else layer.macs
        elements = sum(layer.elements for layer in self.layers if layer.kind != "nonlinear")
        transformed = sum(layer.elements for layer in self.layers if layer.kind == "convolution_3x3")
        counted = {"macs": self.macs, "elements": elements, "elements_3x3": transformed, "layers": len(self.layers)}
        return {**found, **{name: float(count) for name, count in counted.items()}}

    def shares(self) -> Mapping[str, float]:
        """Of all MACs, by kind; of nonlinear layers, their elements against those of all others."""
        features = self.features()
        whole = {kind: features["elements"] if kind == "nonlinear" else self.macs for kind in KINDS}
        return {kind: features[kind] / max(whole[kind], 1) for kind in KINDS}


def convolution_kind(
    kernel: tuple[int, ...], strides: tuple[int, ...], groups: int, channels: int, positions: int
) -> str:
    """channels: of the input. positions: places in the output that share the weights."""
    if positions == 1:
        return "dense"
    if groups > 1:
        return "depthwise" if groups == channels else "grouped"
    if all(length == 1 for length in kernel):
        return "pointwise"
    return "convolution_3x3" if kernel == (3, 3) and set(strides) <= {1} else "convolution"


def matrix_kind(constant: bool, rows: int) -> str:
    """Of a matrix product. constant: one side is weights. rows: how often they are used."""
    if not constant:
        return "attention"
    return "dense" if rows == 1 else "pointwise"

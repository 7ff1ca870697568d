"""Convolutions with batch norm and ReLU, plain and depthwise separable."""

from __future__ import annotations

from torch import nn


def convolution(
    inputs: int, outputs: int, side: int | tuple[int, int], stride: int | tuple[int, int] = 1, groups: int = 1
) -> nn.Sequential:
    """The padding keeps the size, divided by the stride."""
    sides = (side, side) if isinstance(side, int) else side
    padding = (sides[0] // 2, sides[1] // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, sides, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across the channels."""
    return nn.Sequential(convolution(inputs, inputs, 3, stride, groups=inputs), convolution(inputs, outputs, 1))

"""A MobileNetV3-like network on digits whose channels differ widely in scale, as in networks that int8 is known to destroy.

Inverted residuals with squeeze-and-excitation and hard swish (A. Howard et al., Searching for MobileNetV3, 2019), trained as it
is. Then the channels between each expansion, its depthwise convolution and the projection are rescaled, by factors that keep
what the network computes: ReLU(s x) = s ReLU(x). Per-tensor ranges then fit few channels; M. Nagel et al., Data-Free
Quantization, 2019, section 3, found MobileNetV2 like that. `task` is a task reference: benchmarks/mobilenetv3.py:task.

`hardswish` is trained from uneven channels in the blocks with hard swish too. No factor can be moved through that function, so that
equalisation cannot undo it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edgedl.task import Progress, Task
from edgedl.zoo import _mnist_data as data
from edgedl.zoo._supervised import classifier
from edgedl.zoo.mnist_cnn import training

SPREAD = 3.0
"""The factors are 2**n with n normal, of this standard deviation."""

UNEVEN = 2.0
"""The same, of the channels that `hardswish` is trained from."""


class Excite(nn.Module):
    """Squeeze-and-excitation: channels weighted by what all of them are on the average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * nn.functional.hardsigmoid(weights)


class Inverted(nn.Module):
    """Expansion, depthwise convolution, optional excitation, projection; a residual where the shape allows."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, swish: bool) -> None:
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        self.expand = nn.Sequential(nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle), act())
        self.depthwise = nn.Sequential(
            nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False), nn.BatchNorm2d(middle), act()
        )
        self.excite = Excite(middle) if swish else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(middle, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class Network(nn.Module):
    """[batch, 1, 28, 28] float32 in 0..1 -> [batch, 10] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.blocks = nn.Sequential(
            Inverted(16, 48, 16, 1, False), Inverted(16, 64, 24, 2, False), Inverted(24, 72, 24, 1, False),
            Inverted(24, 96, 40, 2, True), Inverted(40, 120, 40, 1, True),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(40, 64), nn.Hardswish(), nn.Linear(64, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.blocks(self.stem(image)).mean((2, 3)))
        return logits


def fit(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
    module = classifier(training, epochs=4)(module, seed, progress)
    rescale(module, seed)
    return module


def rescale(module: nn.Module, seed: int) -> None:
    """Spread the scales of the channels between the layers of each block with ReLU; what the network computes stays."""
    generator = torch.Generator().manual_seed(seed)
    for block in (b for b in module.modules() if isinstance(b, Inverted) and isinstance(b.expand[2], nn.ReLU)):
        for first, second, axis in ((block.expand, block.depthwise, 0), (block.depthwise, block.project, 1)):
            factors = 2 ** (SPREAD * torch.randn(first[1].num_features, generator=generator))
            with torch.no_grad():
                first[1].weight *= factors
                first[1].bias *= factors
                second[0].weight /= factors.view(-1, 1, 1, 1) if axis == 0 else factors.view(1, -1, 1, 1)


def uneven_network() -> nn.Module:
    """Untrained, its channels of different scales behind every normalisation within a block."""
    module, generator = Network(), torch.Generator().manual_seed(0)
    for block in (b for b in module.modules() if isinstance(b, Inverted)):
        for norm in (block.expand[1], block.depthwise[1]):
            norm.weight.data *= 2 ** (UNEVEN * torch.randn(norm.num_features, generator=generator))
    return module


def trained(task: Task, module: nn.Module) -> Task:
    """The task with a module that has its weights."""
    return replace(task, model=lambda: module, fit=None)


def hardswish() -> Task:
    return replace(task(), name="hardswish", model=uneven_network)


def task() -> Task:
    return Task(
        "mobilenetv3", Network, data.example, {"image": {0: "batch"}}, ("logits",), data.calibration, data.accuracy, fit,
        "MobileNetV3-like network with uneven channels", data.LICENCE,
    )  # fmt: skip

"""The networks of published measurements as workloads: their layers, counted on torch's meta device without weights.

Needs `pip install --no-deps timm torchvision==0.28.0`. Architectures: TFLite's hosted models (MobileNet v1 of
arXiv:1704.04861, v2 and v3 of torchvision and timm, EfficientNet-Lite of timm) and MLPerf Tiny's four (arXiv:2106.07597).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgedl.timm_task import _timm
from edgedl.workload import Operation, Workload, convolution_kind, matrix_kind

NONLINEAR = ("Hardswish", "SiLU", "Sigmoid", "Hardsigmoid", "GELU", "Swish", "HardswishMe", "LayerNorm")


def workload(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Workload:
    """Batch normalisation and clips are taken as folded."""
    layers: list[Operation] = []
    with torch.device("meta"):
        module = make().eval()
    for child in module.modules():
        child.register_forward_hook(lambda m, given, out: layers.extend(_layers(m, given[0], out)))
    with torch.no_grad():
        module(torch.zeros(1, *shape, device="meta"))
    return Workload(tuple(layers), "fp32")


def _layers(module: nn.Module, given: torch.Tensor, out: Any) -> list[Operation]:
    name = type(module).__name__
    if isinstance(module, nn.Conv2d):
        sizes = module.groups, module.in_channels, math.prod(out.shape[2:])
        kind = convolution_kind(module.kernel_size, module.stride, *sizes)
        macs = out.numel() * math.prod(module.weight.shape[1:])
        return [Operation(kind, name, macs, given.numel() + out.numel())]
    if isinstance(module, nn.Linear):
        kind = matrix_kind(True, out.numel() // module.out_features)
        return [Operation(kind, name, out.numel() * module.in_features, given.numel() + out.numel())]
    return [Operation("nonlinear", name, 0, out.numel())] if name in NONLINEAR else []


class MobileNetV1(nn.Module):
    def __init__(self, width: float, classes: int = 1001) -> None:
        super().__init__()
        steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        channels = int(32 * width)
        layers = [nn.Conv2d(3, channels, 3, 2, 1)]
        for out, stride in ((int(n * width), stride) for n, stride in steps):
            layers += [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels), nn.Conv2d(channels, out, 1)]
            channels = out
        self.features, self.head = nn.Sequential(*layers), nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class ResNet8(nn.Module):
    """MLPerf Tiny's image classification."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.Conv2d(o, o, 3, 1, 1)) for i, o, s in widths
        )
        self.ways = nn.ModuleList(nn.Conv2d(i, o, 1, s) if s > 1 else nn.Identity() for i, o, s in widths)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block, way in zip(self.blocks, self.ways, strict=True):
            x = block(x) + way(x)
        return self.head(x.mean((2, 3)))


def keywords() -> nn.Module:
    """MLPerf Tiny's keyword spotting: a depthwise separable CNN."""
    separable = [layer for _ in range(4) for layer in (nn.Conv2d(64, 64, 3, 1, 1, groups=64), nn.Conv2d(64, 64, 1))]
    stem = nn.Conv2d(1, 64, (10, 4), 2, (5, 1))
    return nn.Sequential(stem, *separable, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12))


def autoencoder() -> nn.Module:
    """MLPerf Tiny's anomaly detection."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    return nn.Sequential(*(nn.Linear(i, o) for i, o in itertools.pairwise(widths)))


def tiny() -> dict[str, Workload]:
    """MLPerf Tiny, by its short names."""
    return {
        "ad": workload(autoencoder, (640,)),
        "ic": workload(ResNet8, (3, 32, 32)),
        "kws": workload(keywords, (1, 49, 10)),
        "vww": workload(lambda: MobileNetV1(0.25, 2), (3, 96, 96)),
    }


def hosted() -> dict[str, Workload]:
    """TFLite's hosted models and EfficientNet-Lite, by MLPerf's names without the precision."""
    timm, models = _libraries()
    found = {}
    for size in (96, 128, 160, 192, 224):
        for width in (0.25, 0.5, 0.75, 1.0):
            found[f"mobilenet-v1-{width}-{size}"] = workload(functools.partial(MobileNetV1, width), (3, size, size))
        for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
            make = functools.partial(models.mobilenet_v2, width_mult=width, num_classes=1001)
            found[f"mobilenet-v2-{width}-{size}"] = workload(make, (3, size, size))
    for name in ("large_075", "large_100", "small_075", "small_100"):
        kind, width = name.split("_")
        made = functools.partial(timm.create_model, f"mobilenetv3_{name}")
        found[f"mobilenet-v3-{kind}_224_{width[0]}.{width[1:].rstrip('0') or '0'}"] = workload(made, (3, 224, 224))
    for width, size in [*((w, 224) for w in (0.5, 0.75, 1.0, 1.3)), *((1.0, n) for n in (96, 128, 160, 192))]:
        found[f"mnasnet-{width}-{size}"] = workload(functools.partial(models.MNASNet, width), (3, size, size))
    found["inception-v1"] = workload(functools.partial(_googlenet, models), (3, 224, 224))
    found["inception-v4"] = workload(functools.partial(timm.create_model, "inception_v4"), (3, 299, 299))
    for number, size in enumerate((224, 240, 260, 280, 300)):
        made = functools.partial(timm.create_model, f"efficientnet_lite{number}")
        found[f"efficientnet-lite{number}"] = workload(made, (3, size, size))
    return found


def _googlenet(models: Any) -> nn.Module:
    network: nn.Module = models.googlenet(init_weights=False, aux_logits=False)
    return network


def _libraries() -> tuple[Any, Any]:
    timm = _timm()
    import torchvision.models

    return timm, torchvision.models

"""What each option of `edgedl quantize --scheme w8a8` is worth: `python benchmarks/quantization_options.py [mobilenetv3-uneven ...]`.

`-uneven` and `-outlying` compute the same as the networks before them, in a form that plain int8 harms.

A MobileNetV3-like network on 28x28 digits (10,000 images of MNIST where EDGEDL_DATA has them), and a transformer encoder on the
rows of 8x8 digits; both trained here in a minute. Prints, for each format and option, the score that is lost in points and the
relative RMS error of the logits, over held-out data.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgedl
from edgedl import QuantizationOptions, Task, registry
from edgedl.errors import EdgedlError
from edgedl.exporting import eager
from edgedl.program import program_of
from edgedl.schemes import SCHEMES
from edgedl.spec import Array
from edgedl.verify.parity import relative_rms
from edgedl.zoo import _digits_rows, _mnist_data
from edgedl.zoo._supervised import classifier
from edgedl.zoo.transformer import Block, RowsTransformer

CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "percentile": {"calibrator": "percentile"},
    "entropy": {"calibrator": "entropy"},
    "mse": {"calibrator": "mse"},
    "bias correction": {"bias_correction": True},
    "equalize": {"equalize": True},
    "equalize, bias correction": {"equalize": True, "bias_correction": True},
    "smooth 0.5": {"smooth": 0.5},
}


class Squeeze(nn.Module):
    """Channel weights from the mean over the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = nn.functional.hardsigmoid(self.widen(torch.relu(self.narrow(x.mean((2, 3), keepdim=True)))))
        return x * weights


class Bottleneck(nn.Module):
    """Expand, depthwise, squeeze, project: A. Howard et al., Searching for MobileNetV3, ICCV 2019."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, squeeze: bool, swish: bool) -> None:
        super().__init__()
        active: Callable[[], nn.Module] = nn.Hardswish if swish else nn.ReLU
        self.body = nn.Sequential(
            *_normed(nn.Conv2d(inputs, width, 1, bias=False)), active(),
            *_normed(nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)), active(),
            Squeeze(width) if squeeze else nn.Identity(), *_normed(nn.Conv2d(width, outputs, 1, bias=False)),
        )  # fmt: skip
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return x + out if self.residual else out


def _normed(convolution: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    return convolution, nn.BatchNorm2d(convolution.out_channels)


def mobilenetv3() -> nn.Module:
    return nn.Sequential(
        *_normed(nn.Conv2d(1, 16, 3, 2, 1, bias=False)), nn.Hardswish(),
        Bottleneck(16, 16, 16, 1, True, False), Bottleneck(16, 72, 24, 2, False, False), Bottleneck(24, 88, 24, 1, False, False),
        Bottleneck(24, 96, 40, 2, True, True), Bottleneck(40, 160, 40, 1, True, True),
        *_normed(nn.Conv2d(40, 160, 1, bias=False)), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 10),
    )  # fmt: skip


Change = Callable[[nn.Module], nn.Module]


def _same(module: nn.Module) -> nn.Module:
    return module


def uneven_channels(module: nn.Module) -> nn.Module:
    """The same function from channels that differ in range by up to a thousand, as long training leaves them behind depthwise layers."""
    generator = torch.Generator().manual_seed(0)
    for block in (
        part for part in module.modules() if isinstance(part, Bottleneck) and isinstance(part.body[2], nn.ReLU)
    ):
        norm, depthwise = block.body[1], block.body[3]
        factors = 10 ** (3 * torch.rand(norm.weight.shape, generator=generator) - 1.5)
        norm.weight.data *= factors
        norm.bias.data *= factors
        depthwise.weight.data /= factors[:, None, None, None]
    return module


def outlying_channels(module: nn.Module) -> nn.Module:
    """The same function from activations of which one channel in sixteen is forty times the others, as in large transformers."""
    for block in (part for part in module.modules() if isinstance(part, Block)):
        for norm, linear in ((block.before_attention, block.query_key_value), (block.before_feed, block.widen)):
            norm.weight.data[::16] *= 40
            norm.bias.data[::16] *= 40
            linear.weight.data[:, ::16] /= 40
    return module


@dataclass(frozen=True)
class Network:
    make: Callable[[], nn.Module]
    training: Any
    held_out: Any
    epochs: int
    changed: Change


def networks() -> dict[str, Callable[[], Network]]:
    def digits(changed: Change = _same) -> Network:
        training, held_out, _ = _mnist_data.load()
        return Network(mobilenetv3, training, held_out, 3, changed)

    def rows(changed: Change = _same) -> Network:
        training, held_out = _digits_rows.load()
        return Network(RowsTransformer, training, held_out, 30, changed)

    return {
        "mobilenetv3": digits,
        "mobilenetv3-uneven": lambda: digits(uneven_channels),
        "transformer": rows,
        "transformer-outlying": lambda: rows(outlying_channels),
    }


def trained(network: Network) -> nn.Module:
    torch.manual_seed(0)
    fit = classifier(lambda progress: (network.training.inputs, network.training.labels), epochs=network.epochs)
    return fit(network.make(), 0, lambda done, total: None)


def show(name: str, network: Network, folder: Path) -> None:
    module = network.changed(trained(network)).eval()
    x, labels = network.held_out.inputs, network.held_out.labels
    task = Task(name, lambda: module, lambda: {"x": x[:1]}, {"x": {0: "batch"}}, ("y",))
    program = program_of(task, module)
    want = eager(program)({"x": x})["y"]
    print(f"{name}: {100 * _accuracy(want, labels):.2f} % in float")
    for format in ("onnx", "tflite"):
        source = folder / f"{name}.{format}"
        registry.exporter(format).export(program, source)
        for per_channel in (True, False):
            for choice, options in CHOICES.items():
                told = f"  {format:7}{'channel' if per_channel else 'tensor':8} {choice:26}"
                try:
                    got = _output(source, network, QuantizationOptions(per_channel=per_channel, **options))
                except EdgedlError as error:
                    print(f"{told} {str(error).splitlines()[0]}")
                    continue
                lost = 100 * (_accuracy(want, labels) - _accuracy(got, labels))
                print(f"{told} lost {lost:6.2f} points, error {relative_rms(got, want):.4f}", flush=True)


def _output(source: Path, network: Network, options: QuantizationOptions) -> Array:
    path = source.with_stem(f"{source.stem}.w8a8")
    batches = [{"x": rows} for rows in np.array_split(network.training.inputs[:256], 16)]
    registry.exporter(source.suffix[1:]).quantize(source, SCHEMES["w8a8"], lambda: batches, path, options)
    with edgedl.load(path, threads=1) as session:
        return session.run({"x": network.held_out.inputs})["y"]


def _accuracy(logits: Array, labels: Array) -> float:
    return float((logits.argmax(1) == labels).mean())


def main() -> None:
    for name in sys.argv[1:] or networks():
        with tempfile.TemporaryDirectory() as folder:
            show(name, networks()[name](), Path(folder))


if __name__ == "__main__":
    main()

"""Resizes and transposed convolutions that TFLite has in part, against eager torch, and in a file of a dynamic batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from onnx_models import floats, program
from torch import Tensor, nn
from torch.nn import functional

from edgedl.decompositions import decompose
from edgedl.tracing import export
from edgedl_tflite.decompositions import TABLE
from edgedl_tflite.export import export as export_tflite


class Resize(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, **self.options)


IMAGES: dict[str, Callable[[], nn.Module]] = {
    "nearest 1.5x": lambda: Resize(scale_factor=1.5),
    "nearest, sizes": lambda: Resize(size=(7, 13)),
    "nearest, smaller": lambda: Resize(scale_factor=0.4),
    "bilinear 1.5x": lambda: Resize(scale_factor=1.5, mode="bilinear"),
    "bilinear, smaller": lambda: Resize(scale_factor=(0.7, 0.3), mode="bilinear"),
    "output padding": lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
    "output padding beyond the input's": lambda: nn.ConvTranspose2d(4, 6, 3, 2, output_padding=1),
    "groups": lambda: nn.ConvTranspose2d(4, 6, 3, 2, (1, 0), groups=2),
    "depthwise": lambda: nn.ConvTranspose2d(4, 4, (2, 3), 2, groups=4, bias=False),
    "dilation": lambda: nn.ConvTranspose2d(4, 6, (3, 2), (1, 2), 1, dilation=(2, 3)),
}
"""of [2, 4, 6, 9]"""
ROWS: dict[str, Callable[[], nn.Module]] = {
    "nearest of rows": lambda: Resize(scale_factor=1.7),
    "linear of rows": lambda: Resize(scale_factor=1.7, mode="linear"),
    "linear of rows, corners": lambda: Resize(size=4, mode="linear", align_corners=True),
    "transposed convolution of rows": lambda: nn.ConvTranspose1d(4, 6, 3, 3, 1, 2, groups=2, dilation=2),
}
"""of [2, 4, 9]"""
VOLUMES: dict[str, Callable[[], nn.Module]] = {
    "nearest of volumes": lambda: Resize(scale_factor=1.5),
    "trilinear": lambda: Resize(scale_factor=1.5, mode="trilinear"),
}
"""of [2, 4, 3, 4, 5]"""
CASES = {
    **{name: (make, (4, 6, 9)) for name, make in IMAGES.items()},
    **{name: (make, (4, 9)) for name, make in ROWS.items()},
    **{name: (make, (4, 3, 4, 5)) for name, make in VOLUMES.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_gives_what_eager_torch_gives(name: str) -> None:
    make, shape = CASES[name]
    torch.manual_seed(0)
    module, x = make().eval(), torch.randn(2, *shape)
    traced = export(module, (x,))
    decomposed = decompose(traced, TABLE)
    assert decomposed is not traced
    torch.testing.assert_close(decomposed.module()(x), module(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "module",
    [Resize(scale_factor=2.0), Resize(scale_factor=1.5, mode="bilinear"), nn.ConvTranspose2d(4, 6, 4, 2, 1)],
    ids=["nearest 2x", "bilinear where lengths say the ratio", "convolution that doubles"],
)
def test_leaves_what_the_format_has(module: nn.Module) -> None:
    traced = export(module, (torch.randn(1, 4, 4, 6),))
    kept = decompose(traced, TABLE)
    targets = [str(node.target) for node in kept.graph.nodes if node.op == "call_function"]
    assert len(targets) == 1
    assert targets[0].startswith(("aten.upsample", "aten.conv", "aten.convolution"))


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList(make() for make in IMAGES.values())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(x) for part in self.parts)


def test_in_tflite_for_any_batch(tmp_path: Path) -> None:
    module, path = Images().eval(), tmp_path / "net.tflite"
    export_tflite(program(module, {"x": floats(2, 4, 6, 9)}, {"x": {0: "batch"}}), path)
    interpreter = Interpreter(str(path))
    for rows in (1, 5):
        feed = floats(rows, 4, 6, 9, seed=rows)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], feed.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
        interpreter.invoke()
        got = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        for want in module(torch.from_numpy(feed)):
            near = [g for g in got if g.shape == want.shape]
            assert any(np.allclose(g, want.detach(), rtol=1e-4, atol=1e-5) for g in near)

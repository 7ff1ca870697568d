"""Operators that formats lack, against eager torch, and all of them in one ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_models import Function, floats, program, written
from torch import nn
from torch.nn import functional

from edgedl.decompositions import TABLE, decompose
from edgedl.tracing import export

Compute = Callable[[torch.Tensor], object]
ROWS: dict[str, Compute] = {
    "cdist": lambda x: torch.cdist(x, x[:, :3]),
    "cdist p=1": lambda x: torch.cdist(x, x[:, :3], p=1),
    "cdist p=inf": lambda x: torch.cdist(x, x[:, :3], p=float("inf")),
    "cdist p=3": lambda x: torch.cdist(x, x[:, :3], p=3),
    "cummax": lambda x: tuple(torch.cummax(x.round(), 1)),
    "cummin": lambda x: tuple(torch.cummin(x, -1)),
    "median": lambda x: torch.median(x.flatten(1), 1).values,
    "median keepdim": lambda x: tuple(torch.median(x, 1, keepdim=True)),
    "median of all": torch.median,
    "nanmedian": lambda x: torch.nanmedian(torch.where(x > 0.5, torch.nan, x), 1).values,
    "stable sort": lambda x: tuple(torch.sort(x.round(), dim=1, stable=True)),
    "stable argsort": lambda x: torch.argsort(x.round(), dim=-1, stable=True, descending=True),
    "stable argsort of booleans": lambda x: torch.argsort(x > 0, dim=-1, stable=True),
    "adaptive max 1d": lambda x: functional.adaptive_max_pool1d(x, 3),
}  # fmt: skip
"""of [batch, 6, 8]"""
IMAGES: dict[str, Compute] = {
    "adaptive max": lambda x: functional.adaptive_max_pool2d(x, (3, 5)),
    "adaptive max that divides": lambda x: functional.adaptive_max_pool2d(x, (4, None)),
    "adaptive max with places": lambda x: functional.adaptive_max_pool2d(x.round(), (3, 5), return_indices=True),
    "adaptive max 3d": lambda x: functional.adaptive_max_pool3d(x.unflatten(2, (2, 4)), (2, 3, 5)),
    "divisor": lambda x: functional.avg_pool2d(x, 3, 2, 1, divisor_override=5),
    "divisor, ceil": lambda x: functional.avg_pool2d(x, (3, 2), 2, 1, ceil_mode=True, divisor_override=4),
    "divisor 3d": lambda x: functional.avg_pool3d(x.unflatten(2, (2, 4)), 2, ceil_mode=True, divisor_override=3),
}
"""of [batch, 3, 8, 11]"""


def inverse(x: torch.Tensor, **options: object) -> torch.Tensor:
    waves = torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True, **options)
    return torch.istft(waves * 0.5, 16, 4, window=torch.hann_window(16), length=x.shape[-1], **options)


SIGNALS: dict[str, Compute] = {"istft": inverse, "normalized istft": lambda x: inverse(x, normalized=True)}
"""of [batch, 64]"""
CASES = {
    **{name: (f, (6, 8)) for name, f in ROWS.items()}, **{name: (f, (3, 8, 11)) for name, f in IMAGES.items()},
    **{name: (f, (64,)) for name, f in SIGNALS.items()},
}  # fmt: skip


class Computing(nn.Module):
    def __init__(self, compute: Compute) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: torch.Tensor) -> object:
        return self.compute(x)


def tensors(result: object) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else list(result)  # type: ignore[call-overload]


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_eager(name: str, dynamic: bool) -> None:
    compute, shape = CASES[name]
    module, x = Computing(compute).eval(), torch.from_numpy(floats(2, *shape))
    traced = export(module, (x,), ({0: torch.export.Dim("batch")},) if dynamic else None)
    means = {torch.ops.aten.avg_pool2d.default, torch.ops.aten.avg_pool3d.default}
    assert not {node.target for node in traced.graph.nodes} & (TABLE.keys() - means)
    for rows in (1, 2, 5) if dynamic else (2,):
        feed = torch.from_numpy(floats(rows, *shape, seed=rows))
        for got, want in zip(tensors(traced.module()(feed)), tensors(module(feed)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("cases", "shape"), [(ROWS, (6, 8)), (IMAGES, (3, 8, 11)), (SIGNALS, (64,))], ids=["rows", "images", "signals"]
)
def test_in_onnx_for_any_batch(tmp_path: Path, cases: dict[str, Compute], shape: tuple[int, ...]) -> None:
    module = Function(lambda _, x: tuple(t for compute in cases.values() for t in tensors(compute(x)))).eval()
    path = tmp_path / "net.onnx"
    written(path, program(module, {"x": floats(2, *shape)}, {"x": {0: "batch"}}))
    session = onnxruntime.InferenceSession(str(path))
    for rows in (1, 3):
        feed = floats(rows, *shape, seed=rows)
        for got, want in zip(session.run(None, {"x": feed}), module(torch.from_numpy(feed)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_what_needs_nothing_stays_as_it_is() -> None:
    traced = torch.export.export(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2)).eval(), (torch.zeros(1, 3, 8, 8),))
    assert decompose(traced) is traced

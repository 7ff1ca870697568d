"""What torch's attention means where a mask hides every key, in both formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgedl import registry, runtime, tracing
from edgedl.artifact import Artifact
from edgedl.exporter import Program
from edgedl.exporting import eager
from edgedl.program import FlatOutputs
from edgedl.spec import Array, Axis

_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default


class TwoBlocks(nn.Module):
    """Whatever the first block gives for a hidden row, the second one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            y = self.project(x).unflatten(-1, (2, 4)).transpose(1, 2)
            y = nn.functional.scaled_dot_product_attention(y, y, y, attn_mask=mask[:, None])
            x = self.norm(x + y.transpose(1, 2).flatten(2))
        return x


class FloatMask(TwoBlocks):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return super().forward(x, torch.zeros(mask.shape).masked_fill(~mask, float("-inf")))


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.encoder(x, src_key_padding_mask=~mask[:, 0])
        return hidden


def inputs(rows: int = 2, length: int = 5) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    mask = generator.random((rows, length, length)) > 0.4
    mask[0, 1] = mask[-1] = False
    return {"x": generator.standard_normal((rows, length, 8)).astype(np.float32), "mask": mask}


@pytest.mark.parametrize(
    ("module", "fmt"), [(TwoBlocks, "onnx"), (TwoBlocks, "tflite"), (FloatMask, "onnx"), (Padded, "onnx")]
)
def test_queries_without_a_key_get_zeros_in_every_block(module: type[nn.Module], fmt: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    axes = {name: {0: Axis("batch")} for name in ("x", "mask")}
    program = Program("net", FlatOutputs(module()).eval(), inputs(), ("y",), axes)
    path = tmp_path / f"net.{fmt}"
    registry.exporter(fmt).export(program, path)
    with runtime.load(Artifact(path)) as session:
        for rows in (1, 3):
            feeds = inputs(rows)
            want, got = eager(program)(feeds)["y"], session.run(feeds)["y"]
            assert np.isfinite(want).all()
            np.testing.assert_allclose(got, want, atol=1e-5)


class Constant(nn.Module):
    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=self.mask)


class Made(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.full((x.shape[-2], x.shape[-2]), float("-inf")).triu(1)
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


class Causal(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)


@pytest.mark.parametrize(
    ("module", "guarded"),
    [
        (Constant(torch.ones(5, 5, dtype=torch.bool).tril()), False),
        (Constant(torch.ones(5, 5, dtype=torch.bool).tril(-1)), True),
        (Constant(torch.zeros(5, 5)), False),
        (Made(), False),
        (Causal(), False),
    ],
)
def test_attention_that_leaves_a_key_to_every_query_keeps_its_graph(module: nn.Module, guarded: bool) -> None:
    axes = ({2: torch.export.Dim("length", min=2)},) if isinstance(module, Made) else None
    exported = tracing.export(module, (torch.zeros(1, 2, 5, 4),), axes)
    attention = next(node for node in exported.graph.nodes if node.target is _ATTENTION)
    follows = [node.target for node in attention.users]
    assert (torch.ops.aten.mul.Tensor in follows) is guarded


def test_the_reference_computes_hidden_positions_as_the_trace_does() -> None:
    torch.manual_seed(0)
    module, feeds = FlatOutputs(Padded()).eval(), [torch.from_numpy(array) for array in inputs().values()]
    with torch.inference_mode():
        (got,) = module(*feeds)
    (want,) = tracing.export(module, tuple(feeds)).module()(*feeds)
    torch.testing.assert_close(got, want.detach())
    assert torch.backends.mha.get_fastpath_enabled()

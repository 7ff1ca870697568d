from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_models import Function, floats
from torch import nn
from torch.nn import functional

from edgedl import Axis, Task
from edgedl.errors import Unsupported
from edgedl.program import program_of
from edgedl.tracing import first_line, innermost
from edgedl_onnx.export import export


class LearnedBias(nn.Module):
    """Attention with a bias from a table of relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.table = nn.Linear(32, 32), nn.Embedding(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = self.query(x).view(-1, 8, 4, 8).transpose(1, 2)
        far = (torch.arange(8)[:, None] - torch.arange(8)[None]).abs()
        bias = self.table(far).permute(2, 0, 1).unsqueeze(0)
        y = functional.scaled_dot_product_attention(query, query, query, attn_mask=bias)
        return y.transpose(1, 2).contiguous().reshape(-1, 8, 32)


def written(module: nn.Module, tmp_path: Path, inputs: Any, axes: Any = {}) -> onnxruntime.InferenceSession:  # noqa: B006
    export(program_of(Task("net", lambda: module, lambda: inputs, axes), module), tmp_path / "net.onnx")
    return onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize("axes", [{}, {"x": {0: "batch"}}])
def test_attention_with_a_learned_bias(tmp_path: Path, axes: Any) -> None:
    module = LearnedBias()
    session = written(module, tmp_path, {"x": floats(1, 8, 32)}, axes)
    x = floats(3 if axes else 1, 8, 32)
    assert np.allclose(session.run(None, {"x": x})[0], module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "axis", "said"),
    [
        (
            lambda m, x: x[:, :8] if x.shape[1] > 10 else x,
            Axis("time"),
            r"needs .*time <= 10; give 'time' a range that fits, as INPUT:AXIS=time:LOW\.\.HIGH",
        ),
        (lambda m, x: x * 2 if x.shape[1] == 2 else x, Axis("time", 2), r"is fixed to 2 by the model's own code; take 'time' out of --dynamic"),
    ],
)  # fmt: skip
def test_the_condition_on_an_axis_is_told(function: Callable[..., Any], axis: Axis, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=said):
        written(Function(function), tmp_path, {"x": floats(2, 4)}, {"x": {1: axis}})


def test_an_operator_has_the_name_and_line_that_the_user_wrote(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"operator aten\.special_zeta\.default in net \(.*\.py:\d+\)"):
        written(Function(lambda m, x: torch.special.zeta(x.abs() + 2, x.abs() + 1)), tmp_path, {"x": floats(2, 4)})


def test_the_innermost_cause_and_no_sentence_cut_at_a_colon() -> None:
    try:
        try:
            raise ValueError("Cannot do it:\n\n  because of the view")
        except ValueError as error:
            raise RuntimeError("Failed. Next steps:") from error
    except RuntimeError as error:
        assert first_line(str(innermost(error))) == "Cannot do it: because of the view"

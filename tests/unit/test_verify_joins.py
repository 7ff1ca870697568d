"""Concatenations are followed from where they are made to the outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgedl.exporter import Program
from edgedl.program import FlatOutputs
from edgedl.spec import Array
from edgedl.verify.joins import joined_parts
from edgedl.verify.slices import Joined

X = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)


class Net(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def joined(function: Callable[[torch.Tensor], torch.Tensor]) -> Joined | None:
    program = Program("net", FlatOutputs(Net(function)).eval(), {"x": X}, ("y",))
    return joined_parts(program)({"x": X}).get("y")


def ranks(labels: Array) -> list[int]:
    return np.unique(labels, return_inverse=True)[1].ravel().tolist()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: torch.cat([x[:, :2], x[:, 2:].sigmoid()], 1), [0, 0, 1, 1, 1, 1]),
        (lambda x: torch.cat([x[:, :2], x[:, 2:]], 1).transpose(1, 2).reshape(2, 4, 6).transpose(1, 2), [0, 0, 1, 1, 1, 1]),
        (lambda x: torch.cat([x[:, :2], torch.cat([x[:, 2:3], x[:, 3:]], 1) * 640], 1), [0, 0, 1, 2, 2, 2]),
        (lambda x: torch.relu(torch.hstack([x[:, :3], x[:, 3:]])) * 2 + 1, [0, 0, 0, 1, 1, 1]),
        (lambda x: torch.stack([x[:, 0], x[:, 1]], 1), [0, 1]),
        (lambda x: torch.cat(torch.cat([x[:, :2], x[:, 2:]], 1).split((2, 4), 1)[::-1], 1), [0, 0, 0, 0, 1, 1]),
    ],
)  # fmt: skip
def test_elements_are_followed_to_the_output(
    function: Callable[[torch.Tensor], torch.Tensor], expected: list[int]
) -> None:
    found = joined(function)
    assert found is not None
    assert ranks(found.labels[0, :, 0]) == expected
    assert all("test_verify_joins.py:" in str(line) for line in found.lines.values())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2,
        lambda x: torch.cat([x[:, :2], x[:, 2:]], 1).softmax(1),
        lambda x: torch.cat([x, x], 1).mean(1),
        lambda x: torch.stack([x[0, 0, 0] * n for n in range(40)]),
        lambda x: torch.lstm(x, (torch.zeros(1, 2, 3),) * 2, [torch.ones(12, 4), torch.ones(12, 3)], False, 1, 0.0, False, False, True)[0],
    ],
)  # fmt: skip
def test_what_mixes_elements_or_is_a_sequence_has_no_parts(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert joined(function) is None

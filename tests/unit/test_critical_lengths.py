"""The lengths at which a program computes something else, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgedl import registry
from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl.program import FlatOutputs
from edgedl.spec import Axis, TensorSpec
from edgedl.verify.cases import cases

Forward = Callable[[torch.Tensor], torch.Tensor]


class Net(nn.Module):
    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.lstm(x)[0]
        return hidden[:, :20]


def program(module: nn.Module | Forward) -> Program:
    net = module if isinstance(module, nn.Module) else Net(module)
    axes = {"x": {0: Axis("batch"), 1: Axis("time", 4, 64)}}
    rows = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    return Program("net", FlatOutputs(net).eval(), {"x": rows}, ("y",), axes)


def branches(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] <= 10:
        return x.sum(1)
    return x.mean(1) if x.shape[1] <= 24 else x.amax(1)


def padded(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 4))


@pytest.mark.parametrize(
    ("function", "lengths"),
    [
        (lambda x: x[:, :32], {31, 32, 33}),
        (lambda x: x[:, -32:].mean(1), {31, 32, 33}),
        (lambda x: x.mean(1) if x.shape[1] > 20 else x.sum(1), {20, 21, 22}),
        (lambda x: x * max(x.shape[1], 8), {7, 8, 9}),
        (lambda x: x + torch.arange(40)[: x.shape[1], None], {40, 41}),
        (branches, {10, 11, 24, 25}),
        (padded, {7, 8, 63, 64}),
        (Recurrent(), {19, 20, 21}),
        (lambda x: x.mean(1), set()),
        (lambda x: torch.cat([x, x], 1), set()),
    ],
)
def test_both_sides_of_what_a_program_compares_slices_or_pads_with(function: Forward, lengths: set[int]) -> None:
    found = program(function).critical_lengths
    assert not found["batch"]
    assert lengths <= set(found["time"]) if lengths else not found["time"]
    assert all(line and "test_critical_lengths.py:" in line for line in found["time"].values())


def test_nothing_is_known_of_what_needs_data_and_of_fixed_shapes() -> None:
    by_value = program(lambda x: x * 2 if bool(x.sum() > 0) else x)
    assert by_value.critical_lengths == {"batch": {}, "time": {}}
    assert Program("net", by_value.module, by_value.inputs, ("y",)).critical_lengths == {}


def test_the_proof_tries_critical_lengths() -> None:
    made = program(lambda x: x[:, :32])
    specs = (TensorSpec("x", ("batch", "time", 5), "float32"),)
    found = cases([dict(made.inputs)], made.dynamic_axes, specs, critical=made.critical_lengths)
    assert {31, 32, 33} <= {feeds["x"].shape[1] for feeds in found.values()}


def test_tflite_names_the_line_and_the_range_that_it_can_carry(tmp_path: Path) -> None:
    with pytest.raises(
        Unsupported, match=r"test_critical_lengths\.py:\d+.*at batch=1, time=33.*--dynamic x:1=time:4\.\.32"
    ):
        registry.exporter("tflite").export(program(lambda x: x[:, :32] * 2), tmp_path / "net.tflite")

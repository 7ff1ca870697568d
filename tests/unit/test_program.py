from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from onnx_models import Function, floats
from torch import nn

from edgedl import Axis, Task
from edgedl.errors import InvalidInput, InvalidReference
from edgedl.program import named_tensors, predicting, program_of, tracing_lengths

T = torch.zeros(2)
X = {"x": floats(2, 4)}


@dataclass
class Output:
    loss: Any = None
    logits: Any = None
    hidden: Any = None


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (T, ["output"]),
        ((T,), ["output"]),
        ((T, T), ["output_0", "output_1"]),
        ({"a": T, "b": {"c": T, "d": [T, T]}}, ["a", "b_c", "b_d_0", "b_d_1"]),
        (Output(None, T, (T, T)), ["logits", "hidden_0", "hidden_1"]),
        (Pair(T, {"k": T}), ["output_0", "output_1_k"]),
        ({"a": None, "b": T}, ["b"]),
        (None, []),
    ],
)
def test_names_of_nested_outputs(value: Any, names: list[str]) -> None:
    assert [name for name, _ in named_tensors(value)] == names


def task(module: nn.Module, inputs: Any = X, **fields: Any) -> Task:
    return Task("net", lambda: module, lambda: inputs, **fields)


def made(module: nn.Module, inputs: Any = X, **fields: Any) -> Any:
    return program_of(task(module, inputs, **fields), module)


def test_outputs_never_share_a_name() -> None:
    assert made(Function(lambda m, x: {"x": x * 2, "a_b": x, "a": {"b": x}})).outputs == ("x_out", "a_b", "a_b_out")


@pytest.mark.parametrize(
    ("function", "fields", "said"),
    [
        (lambda m, x: (x, 3.0), {}, "forward returned a float"),
        (lambda m, x: None, {}, "returned no tensor"),
        (lambda m, x: {}, {}, "returned no tensor"),
        (lambda m, x: (x, x), {"outputs": ("y",)}, r"returned 2 tensors and names 1 outputs \(y\)"),
        (lambda m, x: x @ torch.zeros(3, 3), {}, r"raised at .*test_program\.py:\d+ on its example inputs \(x \(2, 4\) float32\)"),
    ],
)  # fmt: skip
def test_outputs_that_cannot_be_exported(function: Any, fields: Any, said: str) -> None:
    with pytest.raises(InvalidReference, match=said):
        made(Function(function), **fields)


@pytest.mark.parametrize(
    ("inputs", "axes", "said"),
    [
        ({}, {}, "has no inputs"),
        (X, {"y": {0: "batch"}}, "unknown input 'y': the inputs are x"),
        (X, {"x": {2: "batch"}}, r"has 2 axes \(0 to 1\), not axis 2"),
        (X, {"x": {-1: "batch"}}, "not axis -1"),
        ({"x": floats(0, 4)}, {"x": {0: "batch"}}, "has length 0"),
        ({"x": X["x"], "y": X["x"]}, {"x": {0: Axis("b", 1, 4)}, "y": {0: Axis("b", 2, 4)}}, "axis 'b' is 1 to 4 in one place"),
    ],
)  # fmt: skip
def test_inputs_and_axes_that_cannot_be(inputs: Any, axes: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        made(Function(lambda m, *x: m.linear(x[0])), inputs, dynamic_axes=axes)


def test_the_users_module_is_left_as_it_was() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.dropout, self.norm = nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.norm(self.dropout(self.linear(x)))  # type: ignore[no-any-return]

    module = Counts().train()
    module.norm.eval()
    made(module)
    assert [part.training for part in (module, module.linear, module.dropout, module.norm)] == [True, True, True, False]
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert module.calls.item() == 0


def test_the_program_is_in_eval_mode_and_shares_the_parameters() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Linear(4, 4)).train()
    program = made(module)
    assert not any(part.training for part in program.module.modules())
    assert [p.data_ptr() for p in program.module.parameters()] == [p.data_ptr() for p in module.parameters()]


@pytest.mark.filterwarnings("ignore")
def test_modules_that_cannot_be_copied_whole() -> None:
    """The old weight_norm keeps a tensor that is no leaf, which deepcopy alone refuses."""
    module = nn.utils.weight_norm(nn.Linear(4, 4))
    assert made(module).outputs == ("output",)


def test_shared_weights_stay_shared() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    copied = made(module).module.module
    assert copied[0].weight is copied[1].weight


def test_inputs_of_rank_zero_and_torch_tensors() -> None:
    program = made(Function(lambda m, x, t: m.linear(x) * t), {"x": torch.ones(2, 4), "t": np.float32(3)})
    assert program.inputs["t"].shape == ()
    assert isinstance(program.inputs["x"], np.ndarray)


def test_tracing_lengths_differ_and_are_two_or_more() -> None:
    axes = {"x": {0: Axis("a", 1, 4), 1: Axis("b", 1, 4)}, "y": {0: Axis("a", 1, 4), 1: Axis("c", 5, 9)}}
    assert tracing_lengths(axes) == {"a": 2, "b": 3, "c": 5}


def test_specs_of_both_layouts() -> None:
    inputs = {"image": floats(1, 3, 5, 7), "n": np.zeros(2, np.int64)}
    module = Function(lambda m, image, n: image)
    program = program_of(task(module, inputs, dynamic_axes={"image": {0: "batch"}}), module, channels_last=True)
    assert [str(s) for s in program.input_specs()] == ["image: float32[batch, 3, 5, 7]", "n: int64[2]"]
    assert [str(s) for s in program.artifact_specs()] == ["image: float32[batch, 5, 7, 3]", "n: int64[2]"]
    assert program.laid_out(program.inputs)["image"].shape[1:] == (5, 7, 3)


@pytest.mark.parametrize("fed", [{}, {"y": X["x"]}, {**X, "y": X["x"]}])
def test_predict_names_the_inputs_that_it_was_given_wrongly(fed: Any) -> None:
    with pytest.raises(InvalidReference, match=r"predict was given the inputs .*, expected x"):
        predicting(nn.Linear(4, 2), ("x",), ("y",))(fed)


def _add_one(m: nn.Module, x: torch.Tensor) -> Any:
    x += 1
    return x * 2


def _set_column(m: nn.Module, x: torch.Tensor) -> Any:
    x[:, 0] = 0
    return x


def _scale_view(m: nn.Module, x: torch.Tensor) -> Any:
    x[:, 1:3].mul_(3)
    return x.sum(1), x


def _write_data(m: nn.Module, x: torch.Tensor) -> Any:
    x.data.add_(1)
    return x * 2


@pytest.mark.parametrize("forward", [_add_one, _set_column, _scale_view, _write_data])
def test_a_module_that_writes_into_its_input_leaves_the_callers_array_alone(forward: Any) -> None:
    example = np.arange(8, dtype=np.float32).reshape(2, 4)
    feeds = {"x": example + 1}
    expected = forward(None, torch.from_numpy(feeds["x"].copy()))
    program = program_of(Task("net", lambda: Function(forward), lambda: {"x": example}), Function(forward))
    predict = predicting(program.module, ("x",), program.outputs)

    results = [predict(feeds) for _ in range(2)]

    for result in results:
        for value, want in zip(result.values(), expected if isinstance(expected, tuple) else (expected,), strict=True):
            np.testing.assert_array_equal(value, want.numpy())
    np.testing.assert_array_equal(feeds["x"], example + 1)
    np.testing.assert_array_equal(program.inputs["x"], np.arange(8).reshape(2, 4))


def test_only_inputs_that_are_written_are_copied_in_a_trace() -> None:
    program = program_of(Task("net", lambda: Function(_add_one), lambda: X), Function(_add_one))
    plain = program_of(Task("net", lambda: Function(lambda m, x: x + 1), lambda: X), Function(lambda m, x: x + 1))

    assert (program.module.written_inputs, plain.module.written_inputs) == ({0}, frozenset())

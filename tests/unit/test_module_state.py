from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx_models import floats
from torch import nn
from torch.nn import functional

from edgedl import Task
from edgedl.errors import InvalidReference
from edgedl.program import predicting, program_of

X = {"x": floats(2, 4)}
COUNT = [0.0]
STEP = 0


class Net(nn.Module):
    """A linear layer; `forward` is a function of the module and its input."""

    def __init__(self, function: Callable[..., Any], prepare: Callable[[Any], None] = lambda m: None) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.function = function
        prepare(self)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def program(module: nn.Module, **fields: Any) -> Any:
    return program_of(Task("net", lambda: module, lambda: X, **fields), module)


def carried(m: Any, x: torch.Tensor) -> torch.Tensor:
    y = m.linear(x) + (0 if m.h is None else m.h)
    m.h = y.detach()
    return y


def in_place(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.buf.mul_(0.5).add_(x.mean())
    return m.linear(x) + m.buf


def appended(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.seen.append(x)
    return m.linear(torch.stack(m.seen).sum(0))


def in_a_dictionary(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.cache["last"] = x + m.cache.get("last", 0)
    return m.linear(m.cache["last"])


def counted(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.calls += 1
    return m.linear(x) * m.calls


def in_a_submodule(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.linear.mean = 0.9 * getattr(m.linear, "mean", 0.0) + x.mean()
    return m.linear(x) + m.linear.mean


def in_a_global(m: Any, x: torch.Tensor) -> torch.Tensor:
    COUNT[0] += 1
    return m.linear(x) + COUNT[0]


class Kept:
    def __init__(self) -> None:
        self.value = 0.0


def in_an_object(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.kept.value += 1.0
    return m.linear(x) + m.kept.value


def largest(m: Any, x: torch.Tensor) -> torch.Tensor:
    """Only another input shows it."""
    m.h = x if m.h is None else torch.maximum(m.h, x)
    return m.linear(m.h)


def weights(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.linear.weight.data.mul_(0.5)
    return m.linear(x)


def with_h(m: Any) -> None:
    m.h = None


STATES: dict[str, tuple[Any, Any, str]] = {
    "attribute": (carried, with_h, "Net.h"),
    "buffer": (in_place, lambda m: m.register_buffer("buf", torch.zeros(4)), "Net.buf"),
    "tensor": (in_place, lambda m: setattr(m, "buf", torch.zeros(4)), "Net.buf"),
    "list": (appended, lambda m: setattr(m, "seen", []), "Net.seen"),
    "dictionary": (in_a_dictionary, lambda m: setattr(m, "cache", {}), "Net.cache"),
    "counter": (counted, lambda m: setattr(m, "calls", 0), "Net.calls"),
    "submodule": (in_a_submodule, lambda m: None, "linear.mean"),
    "object": (in_an_object, lambda m: setattr(m, "kept", Kept()), "Net.kept"),
    "largest": (largest, with_h, "Net.h"),
    "weights": (weights, lambda m: None, "linear.weight"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_is_refused_with_its_name_and_line(name: str) -> None:
    function, prepare, place = STATES[name]
    module = Net(function, prepare)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(
        InvalidReference, match=rf"Net keeps a state between calls in {place}, .*make it an input and an output"
    ) as caught:
        program(module)
    line = function.__code__.co_firstlineno
    assert any(f"test_module_state.py:{line + more}" in str(caught.value) for more in (1, 2, 3))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_refused_module_is_as_it_was() -> None:
    module: Any = Net(carried, with_h)
    with pytest.raises(InvalidReference):
        program(module)
    assert module.h is None


class Global(nn.Module):
    calls = 0.0

    def __init__(self, where: str) -> None:
        super().__init__()
        self.linear, self.where = nn.Linear(4, 4), where

    def forward(self, x: torch.Tensor) -> Any:
        global STEP
        if self.where == "list":
            COUNT[0] += 1
        elif self.where == "number":
            STEP += 1
        else:
            Global.calls += 1
        return self.linear(x) + COUNT[0] + STEP + Global.calls


@pytest.mark.parametrize(
    ("where", "place"),
    [("list", "the global COUNT"), ("number", "the global STEP"), ("class", r"Global\.calls \(of the class\)")],
)
def test_a_state_outside_of_the_module(where: str, place: str) -> None:
    with pytest.raises(InvalidReference, match=f"Global keeps a state between calls in {place}"):
        program(Global(where))


def cached(m: Any, x: torch.Tensor) -> torch.Tensor:
    if m.h is None:
        m.h = torch.from_numpy(np.arange(4, dtype=np.float32))
    return m.linear(x) + m.h


def grown(m: Any, x: torch.Tensor) -> torch.Tensor:
    if m.h is None or len(m.h) < x.shape[0]:
        m.h = torch.arange(x.shape[0], dtype=torch.float32)[:, None]
    return m.linear(x) + m.h[: x.shape[0]]


def looked_at(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.h = torch.softmax(m.linear(x), -1)
    return m.h * 2


def logged(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.h = [*(m.h or []), x]
    return m.linear(x)


def counting(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.calls += 1
    m.linear.n = getattr(m.linear, "n", 0) + 1
    return m.linear(x)


HARMLESS: dict[str, tuple[Any, Any]] = {
    "cache": (cached, with_h),
    "table": (grown, with_h),
    "attention": (looked_at, with_h),
    "log": (logged, with_h),
    "counter": (counting, lambda m: m.register_buffer("calls", torch.zeros(1))),
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("axes", [{}, {"x": {0: "batch"}}])
def test_what_no_later_call_depends_on_is_no_state(name: str, axes: Any) -> None:
    if name == "cache" and axes:
        pytest.skip("numpy in a trace")
    module = Net(*HARMLESS[name])
    made = program(module, dynamic_axes=axes)
    predict = predicting(made.module, ["x"], made.outputs)
    want = predict(X)
    predict({"x": floats(3, 4)} if axes else {"x": X["x"] * 2})
    assert all(np.array_equal(predict(X)[key], want[key]) for key in want)
    exported = torch.export.export(made.module, (torch.from_numpy(X["x"]),))
    assert not exported.graph_signature.buffers_to_mutate
    assert np.allclose(exported.module()(torch.from_numpy(X["x"]))[0].detach(), want["output"], atol=1e-6)


def test_normalisations_that_train_by_override() -> None:
    class Stubborn(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Any:
            return super().train(True)

    assert program(nn.Sequential(nn.Linear(4, 4), Stubborn(4))).outputs == ("output",)


def drawn(m: Any, x: torch.Tensor) -> torch.Tensor:
    return functional.dropout(m.linear(x), 0.5)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (drawn, r"Net is random in eval mode \(aten\..* at .*test_module_state.py:\d+\): .*training=self.training"),
        (lambda m, x: m.linear(x) + torch.randn_like(x), "aten.randn"),
        (lambda m, x: m.linear(x) * random.random(), "Net is random in eval mode"),
        (lambda m, x: m.linear(x) * float(np.random.rand()), "Net is random in eval mode"),
    ],
)
def test_random_outputs(function: Any, what: str) -> None:
    with pytest.raises(InvalidReference, match=what):
        program(Net(function))

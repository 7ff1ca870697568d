from __future__ import annotations

import json
import logging
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgedl.module_copy import full_copy, shared_copy

Pair = namedtuple("Pair", "a b")


class Holder(nn.Module):
    """A linear layer and one attribute."""

    def __init__(self, held: Any = None) -> None:
        super().__init__()
        self.linear, self.held = nn.Linear(4, 4), held

    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x)


class Cache:
    def __init__(self) -> None:
        self.keys, self.lock = torch.zeros(3), threading.Lock()


UNCOPYABLE = {
    "module": json,
    "lock": threading.Lock(),
    "file": Path(__file__).open("rb"),  # noqa: SIM115
    "generator": (number for number in range(3)),
    "lambda": lambda x: x,
    "logger": logging.getLogger("net"),
    "weakref": weakref.ref(nn.Linear(1, 1)),
    "thread": threading.current_thread(),
}


@pytest.mark.parametrize("copied", [shared_copy, full_copy])
@pytest.mark.parametrize("name", UNCOPYABLE)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"a": (value, 1)}])
def test_what_cannot_be_copied_is_shared(copied: Any, name: str, wrap: Any) -> None:
    module = Holder(wrap(UNCOPYABLE[name]))
    made = copied(module)
    assert made.held == module.held
    assert torch.equal(made(torch.ones(1, 4)), module(torch.ones(1, 4)))


@pytest.mark.parametrize(
    "held",
    [
        [torch.zeros(2)], (1, torch.zeros(2)), {"a": [torch.zeros(2)]}, OrderedDict(a=torch.zeros(2)), deque([torch.zeros(2)], 3),
        defaultdict(list, a=[torch.zeros(2)]), Pair(1, torch.zeros(2)), np.zeros(2), Cache(), {1, 2}, torch.ones(2, requires_grad=True) * 2,
    ],
    ids=lambda held: type(held).__name__,
)  # fmt: skip
def test_tensors_and_containers_are_copied(held: Any) -> None:
    made = shared_copy(Holder(held))
    assert type(made.held) is type(held)
    assert made.held is not held


def test_containers_keep_what_they_are() -> None:
    made = shared_copy(Holder([defaultdict(list, a=[1]), deque([1, 2], 2), Pair(1, torch.zeros(1))]))
    assert made.held[0]["b"] == []
    assert made.held[1].maxlen == 2
    assert made.held[2].a == 1


def test_an_object_with_tensors_is_copied_and_shares_its_lock() -> None:
    cache = Cache()
    made: Any = shared_copy(Holder(cache))
    made.held.keys += 1
    assert not cache.keys.any()
    assert made.held.lock is cache.lock


def test_a_generator_of_random_numbers_starts_where_the_original_stands() -> None:
    module = Holder(torch.Generator().manual_seed(3))
    drawn = [torch.rand(2, generator=shared_copy(module).held) for _ in range(2)]
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(2, generator=module.held), drawn[0])


def test_references_to_the_module_point_to_the_copy() -> None:
    module: Any = Holder()
    module.parent, module.call, module.part = weakref.ref(module), module.linear.forward, partial(module.linear, 1)
    module.linear.forward = types.MethodType(lambda self, x: x @ self.weight, module.linear)
    made: Any = full_copy(module)
    assert made.parent() is made
    assert made.call.__self__ is made.linear
    assert made.part.func is made.linear
    assert made.linear.forward.__self__ is made.linear


def test_a_full_copy_has_parameters_of_its_own_that_stay_tied() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    made: Any = full_copy(module)
    assert made[0].weight is made[1].weight is not module[0].weight
    assert list(dict(made.named_parameters())) == list(dict(module.named_parameters()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_normalised_weights(norm: Any) -> None:
    module = Holder(threading.Lock())
    norm(module.linear)
    x = torch.randn(2, 4)
    assert torch.equal(full_copy(module)(x), module(x))


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_read_their_own_weights(layer: Any) -> None:
    module = layer(4, 4)
    made: Any = full_copy(module)
    assert made._flat_weights[0] is made.weight_ih_l0
    assert made._flat_weight_refs[0]() is made.weight_ih_l0


def test_traced_and_scripted_modules() -> None:
    x = torch.randn(2, 4)
    traced = torch.fx.symbolic_trace(Holder())
    scripted = torch.jit.trace(Holder(), x)
    for module in (traced, scripted):
        assert torch.equal(shared_copy(nn.Sequential(module))(x), module(x))

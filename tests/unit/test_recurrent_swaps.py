"""What users put around recurrent layers stays when an exporter swaps the layer."""

from __future__ import annotations

import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_models import floats
from torch import nn
from torch.nn.utils import parametrizations

from edgedl import Task
from edgedl.errors import Unsupported
from edgedl.program import program_of
from edgedl_onnx.export import export
from edgedl_tflite.recurrent import marked

X = {"x": floats(2, 5, 4)}


class Net(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.lock = layer, threading.Lock()

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)[0]


def hooked(layer: Any) -> Any:
    layer.register_forward_hook(lambda module, args, output: (output[0] * 2, output[1]))
    return layer


def hooked_before(layer: Any) -> Any:
    layer.register_forward_pre_hook(lambda module, args: (args[0] + module.weight_ih_l0.mean(),))
    return layer


def overridden(layer: Any) -> Any:
    whole = layer.forward
    layer.forward = lambda x: (whole(x)[0] * 3, None)
    return layer


def bound(layer: Any) -> Any:
    layer.forward = types.MethodType(lambda self, x: (x @ self.weight_ih_l0.T, None), layer)
    return layer


def normalised(layer: Any) -> Any:
    return parametrizations.weight_norm(layer, "weight_hh_l0")


def normalised_by_a_hook(layer: Any) -> Any:
    return nn.utils.weight_norm(layer, "weight_hh_l0")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", [hooked, hooked_before, overridden, bound, normalised, normalised_by_a_hook])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_is_put_around_a_layer_stays(change: Any, kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Net(change(kind(4, 6, batch_first=True)))
    with torch.no_grad():
        want = module(torch.from_numpy(X["x"])).numpy()
    program = program_of(Task("net", lambda: module, lambda: X), module)
    export(program, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    assert np.allclose(session.run(None, X)[0], want, atol=1e-5)
    assert np.allclose(program.module(torch.from_numpy(X["x"]))[0].detach().numpy(), want, atol=1e-6)


@pytest.mark.parametrize(("change", "stays"), [(hooked, True), (overridden, True), (normalised, False)])
def test_tflite_keeps_it_too(change: Any, stays: bool) -> None:
    module = Net(change(nn.GRU(4, 6, batch_first=True)))
    swapped: Any = marked(module)
    assert isinstance(swapped.layer, nn.GRU) is stays
    assert (swapped is module) is (change is overridden)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": False}])
@pytest.mark.filterwarnings("ignore")
def test_a_projected_lstm(options: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.LSTM(4, 6, proj_size=3, batch_first=True, **options)
    program = program_of(Task("net", lambda: module, lambda: X, {"x": {0: "batch"}}), module)
    export(program, tmp_path / "net.onnx")
    got = onnxruntime.InferenceSession(str(tmp_path / "net.onnx")).run(None, {"x": floats(3, 5, 4)})
    want, (hidden, cell) = module(torch.from_numpy(floats(3, 5, 4)))
    for a, b in zip(got, (want, hidden, cell), strict=True):
        assert np.allclose(a, b.detach().numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_projected_lstm_of_any_length_is_refused(tmp_path: Path) -> None:
    module = Net(nn.LSTM(4, 6, proj_size=3, batch_first=True))
    program = program_of(Task("net", lambda: module, lambda: X, {"x": {1: "time"}}), module)
    with pytest.raises(
        Unsupported, match="layer is an LSTM with proj_size, which ONNX has for a fixed number of steps"
    ):
        export(program, tmp_path / "net.onnx")

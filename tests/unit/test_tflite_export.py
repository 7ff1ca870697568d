"""torch -> .tflite: parity, names, layouts, dtypes, and the messages of refusals."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from tflite_models import exported, load, module, program, reference, sample, worst
from torch import nn

from edgedl.errors import Unsupported
from edgedl.exporter import Program
from edgedl_tflite import exporter


@pytest.mark.parametrize("kind", ["mlp", "cnn", "encoder"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_agrees_with_torch(kind, dynamic):
    x = sample(kind, 2, seed=5)
    outputs = load(exported(kind, dynamic)).run({"x": x})
    assert worst(outputs, reference(module(kind), x)) <= 1e-5


def test_names_and_order_are_in_signature_and_subgraph():
    interpreter = Interpreter(str(exported("encoder")))
    signature = interpreter.get_signature_list()["serving_default"]
    assert {side: set(names) for side, names in signature.items()} == {"inputs": {"x"}, "outputs": {"scores", "hidden"}}
    assert [d["name"] for d in interpreter.get_input_details()] == ["x"]
    assert [d["name"] for d in interpreter.get_output_details()] == ["scores", "hidden"]


def test_channels_last_inputs_are_nhwc_and_agree():
    x = sample("cnn", 2)
    session = load(exported("cnn", channels_last=True))
    assert session.inputs[0].shape == (2, 8, 8, 3)
    outputs = session.run({"x": np.ascontiguousarray(x.transpose(0, 2, 3, 1))})
    assert worst(outputs, reference(module("cnn"), x)) <= 1e-5


def test_channels_last_with_a_dynamic_batch():
    session = load(exported("cnn", dynamic=True, channels_last=True))
    x = sample("cnn", 5)
    outputs = session.run({"x": np.ascontiguousarray(x.transpose(0, 2, 3, 1))})
    assert worst(outputs, reference(module("cnn"), x)) <= 1e-5


def test_int64_inputs_are_int32_in_the_file_and_take_int64_arrays():
    session = load(exported("encoder"))
    assert session.inputs[0].dtype == "int32"
    x = sample("encoder", 2)
    assert x.dtype == np.int64
    np.testing.assert_array_equal(session.run({"x": x})["scores"], session.run({"x": x.astype(np.int32)})["scores"])


class Odd(nn.Module):
    """An output that is an input, one given twice, a scalar, a constant, an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, unused, count):
        y = self.layer(x)
        return x, y, y, y.sum(), unused.new_zeros(2), count + 1


def test_every_output_has_a_tensor_of_its_own(tmp_path):
    torch.manual_seed(0)
    arrays = {"x": np.ones((2, 4), np.float32), "unused": np.ones(3, np.float32), "count": np.array([1, 2])}
    odd, names = Odd().eval(), ("same", "y", "again", "total", "zeros", "count_out")
    exporter.export(Program("odd", odd, arrays, names), tmp_path / "odd.tflite")
    interpreter = Interpreter(str(tmp_path / "odd.tflite"))
    assert [d["name"] for d in interpreter.get_output_details()] == list(names)
    session = load(tmp_path / "odd.tflite")
    assert [spec.name for spec in session.inputs] == ["x", "unused", "count"]
    outputs = session.run(arrays)
    assert outputs["total"].shape == ()
    assert worst(outputs, reference(odd, *arrays.values())) <= 1e-5


def test_constants_are_aligned_to_16_bytes():
    content = exported("mlp").read_bytes()
    weights = module("mlp").layers[0].weight.detach().numpy().tobytes()
    assert content.count(weights) == 1
    assert content.index(weights) % 16 == 0


class Svd(nn.Module):
    def forward(self, x):
        return (torch.linalg.svd(x)[1],)


class Inverse(nn.Module):
    def forward(self, x):
        return (torch.linalg.inv(x),)


class Diagonal(nn.Module):
    def forward(self, x):
        return (torch.einsum("ii->i", x),)


class Hashed(nn.Module):
    def forward(self, x):
        return (x.to(torch.int64) * 6364136223846793005 % 1000,)


class Order(nn.Module):
    def forward(self, x):
        return (x + torch.argsort(x),)


class Sorted(nn.Module):
    def forward(self, x):
        return (torch.sort(x + 1)[0],)


class Spectrum(nn.Module):
    def forward(self, x):
        return (torch.stft(x, 2, 1, window=torch.ones(2), return_complex=True).abs(),)


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return (x,)
        return (x + 1,)


def _line_of(cls, text):
    lines, first = inspect.getsourcelines(cls)
    return first + next(i for i, line in enumerate(lines) if text in line)


@pytest.mark.parametrize(
    ("cls", "text", "words"),
    [
        (Svd, "svd", "torch.linalg.svd"),
        (Inverse, "inv", "torch.linalg.inv"),
        (Diagonal, "einsum", "has no TFLite counterpart (it becomes tfl.equal)"),
        (Hashed, "63641", "the integer 6364136223846793005 does not fit the 32 bits"),
        (Order, "argsort", "the operator aten.sort at"),
        (Sorted, "sort(", "has no TFLite counterpart (it becomes STABLEHLO_SORT)"),
        (Spectrum, "stft", "gives complex numbers"),
        (Branch, "if x.sum", "values of a tensor"),
    ],
)
def test_refusals_name_the_operator_and_the_users_line(tmp_path, cls, text, words):
    refused = Program("net", cls().eval(), {"x": np.ones((3, 3), np.float32)}, ("y",))
    with pytest.raises(Unsupported) as caught:
        exporter.export(refused, tmp_path / "net.tflite")
    assert words in str(caught.value)
    assert f"test_tflite_export.py:{_line_of(cls, text)}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_double_precision_is_refused_by_the_name_of_the_input(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2)).double().eval()
    with pytest.raises(Unsupported, match=r"input 'x' is float64.*use module.float\(\)"):
        exporter.export(Program("net", net, {"x": np.ones((1, 3))}, ("y",)), tmp_path / "net.tflite")


def test_nothing_is_printed(tmp_path, capfd):
    exporter.export(program("mlp"), tmp_path / "mlp.tflite")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_nothing_is_printed_by_the_other_steps(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from edgedl_tflite import exporter;"
        "from edgedl.schemes import SCHEMES; source, path = map(Path, sys.argv[1:]); x = np.ones((2, 16), np.float32);"
        "exporter.quantize(source, SCHEMES['w8a8'], lambda: [{'x': x}], path); exporter.describe(path);"
        "list(exporter.intermediates(path, {'x': x}))"
    )
    done = _python(code, str(exported("mlp")), str(tmp_path / "q.tflite"))
    assert (done.stdout, done.stderr) == ("", "")


def _python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)


def test_importing_the_plugins_loads_no_engine():
    heavy = "torch litert_torch jax ai_edge_litert ai_edge_quantizer tensorflow tflite_runtime flatbuffers"
    code = f"import sys, edgedl_tflite, edgedl_litert; print([m for m in '{heavy}'.split() if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_plugin_states_its_contract():
    assert (exporter.format, exporter.suffix, exporter.extra) == ("tflite", ".tflite", "tflite")
    assert exporter.schemes == ("fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16")

"""The four schemes: sizes, errors, borders, calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_quantizer.utils import qsv_utils
from tflite_models import exported, load, module, quantized, reference, relative_l2, sample
from torch import nn

from edgedl.errors import InvalidInput, InvalidTensor, Unsupported
from edgedl.exporter import Program
from edgedl.schemes import SCHEMES
from edgedl.spec import TensorSpec
from edgedl_tflite import calibrate as stage
from edgedl_tflite import exporter, flatbuffer
from edgedl_tflite.check import read_checked

LARGEST_ERROR = {"fp16": 1e-3, "w8": 0.015, "w8a8-dynamic": 0.02, "w8a8": 0.06}
KINDS = ["mlp", "cnn", "encoder"]


@pytest.mark.parametrize("scheme", LARGEST_ERROR)
@pytest.mark.parametrize("kind", KINDS)
def test_error_is_bounded(kind, scheme):
    x = sample(kind, 64, seed=9)
    session = load(quantized(kind, scheme, dynamic=True))
    output = session.run({"x": x})[session.outputs[0].name]
    assert 0 < relative_l2(output, reference(module(kind), x)[0]) < LARGEST_ERROR[scheme]


@pytest.mark.parametrize(
    ("scheme", "dtype", "share"), [("fp16", "float16", 0.5), ("w8", "int8", 0.25), ("w8a8-dynamic", "int8", 0.25)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_shrink(kind, scheme, dtype, share):
    before, after = (exporter.describe(path).bytes_by_dtype for path in (exported(kind), quantized(kind, scheme)))
    rest = before["float32"] - after["float32"]
    assert after[dtype] == rest * share
    assert quantized(kind, scheme).stat().st_size < exported(kind).stat().st_size


@pytest.mark.parametrize(("kind", "in_float"), [("mlp", 0), ("cnn", 0), ("encoder", 4)])
def test_static_leaves_no_float_weights(kind, in_float):
    """But for the epsilon of a transformer's normalisation, which is one number."""
    found = dict(exporter.describe(quantized(kind, "w8a8")).bytes_by_dtype)
    assert found.pop("float32", 0) == in_float
    assert set(found) == {"int8", "int32"}


def test_a_transformer_has_integers_in_its_layers_alone():
    """The softmax, the normalisation and attention's own products read and write floats."""
    model = read_checked(quantized("encoder", "w8a8"))
    tensors = model.subgraphs[0].tensors
    by_kind: dict[str, set[str]] = {}
    for operator in model.subgraphs[0].operators:
        dtypes = {flatbuffer.TYPE_NAMES[tensors[index].type] for index in operator.outputs}
        by_kind.setdefault(flatbuffer.operator_name(model, operator), set()).update(dtypes)
    assert by_kind["FULLY_CONNECTED"] == {"int8"}
    assert all(by_kind[kind] == {"float32"} for kind in ("SOFTMAX", "BATCH_MATMUL", "MEAN", "RSQRT", "ADD"))


class _Seen(nn.Module):
    """Mostly convolutions, with a little attention behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU())

    def forward(self, x):
        y = self.convolutions(x).flatten(2)
        return ((y.transpose(1, 2) @ y).softmax(-1),)


def test_a_network_of_convolutions_stays_in_integers_where_it_attends(tmp_path):
    torch.manual_seed(0)
    path, x = tmp_path / "seen.tflite", np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    exporter.export(Program("seen", _Seen().eval(), {"x": x}, ("y",)), path)
    exporter.quantize(path, SCHEMES["w8a8"], lambda: [{"x": x}], tmp_path / "q.tflite")
    model = read_checked(tmp_path / "q.tflite")
    products = [o for o in model.subgraphs[0].operators if flatbuffer.operator_name(model, o) == "BATCH_MATMUL"]
    types = {flatbuffer.TYPE_NAMES[model.subgraphs[0].tensors[o.outputs[0]].type] for o in products}
    assert types == {"int8"}


class _Causal(_Seen):
    """What may look at what came before alone."""

    def forward(self, x):
        y = self.convolutions(x).flatten(2)
        later = torch.ones(16, 16, dtype=torch.bool).triu(1)
        return (((y.transpose(1, 2) @ y).masked_fill(later, float("-inf")).softmax(-1)) @ y.transpose(1, 2),)


@pytest.mark.parametrize(("scheme", "largest"), [("w8a8", 0.02), ("w8a16", 0.005)])
def test_masks_of_minus_infinity_have_no_scale_and_stay_in_float(tmp_path, scheme, largest):
    torch.manual_seed(0)
    path, x = tmp_path / "causal.tflite", np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    network = _Causal().eval()
    exporter.export(Program("causal", network, {"x": x}, ("y",)), path)
    exporter.quantize(path, SCHEMES[scheme], lambda: [{"x": x}], tmp_path / "q.tflite")
    assert relative_l2(load(tmp_path / "q.tflite").run({"x": x})["y"], reference(network, x)[0]) < largest
    model = read_checked(tmp_path / "q.tflite")
    softmax = next(o for o in model.subgraphs[0].operators if flatbuffer.operator_name(model, o) == "SOFTMAX")
    assert flatbuffer.TYPE_NAMES[model.subgraphs[0].tensors[softmax.outputs[0]].type] == "float32"


@pytest.mark.parametrize("scheme", LARGEST_ERROR)
def test_borders_keep_their_names_order_and_dtypes(scheme):
    session = load(quantized("encoder", scheme))
    assert [(s.name, s.dtype) for s in session.inputs] == [("x", "int32")]
    assert [(s.name, s.dtype) for s in session.outputs] == [("scores", "float32"), ("hidden", "float32")]


def test_ranges_are_exact_where_the_tools_average_clips(tmp_path, monkeypatch):
    """One row in forty is ten times the others, as activations of real models are."""
    rows = sample("mlp", 40, seed=2)
    rows[7] *= 10
    x, errors = rows[7:8], {}
    for name, update in (("average", qsv_utils.moving_average_update), ("exact", qsv_utils.min_max_update)):
        monkeypatch.setattr(stage, "min_max_update", update)
        path = tmp_path / f"{name}.tflite"
        feeds = [{"x": row[None]} for row in rows]
        exporter.quantize(exported("mlp", dynamic=True), SCHEMES["w8a8"], lambda feeds=feeds: feeds, path)
        errors[name] = relative_l2(load(path).run({"x": x})["y"], reference(module("mlp"), x)[0])
    assert errors["exact"] < 0.05
    assert errors["average"] > 4 * errors["exact"]


def test_the_range_of_the_input_is_that_of_the_data():
    calibrator_range = sample("cnn", 65, seed=1)
    first = next(iter(exporter.intermediates(quantized("cnn", "w8a8"), {"x": calibrator_range[:2]})))
    name, values = first
    step = np.ptp(calibrator_range) / 255
    assert name.startswith("x")
    assert np.abs(values - calibrator_range[:2]).max() <= step * 0.51


def test_static_without_calibration_data_is_refused(tmp_path):
    for calibration in (None, list):
        with pytest.raises(InvalidInput, match="calibration"):
            exporter.quantize(exported("mlp"), SCHEMES["w8a8"], calibration, tmp_path / "q.tflite")
    assert not list(tmp_path.iterdir())


def test_an_unknown_scheme_is_refused(tmp_path):
    with pytest.raises(Unsupported, match="fp32"):
        exporter.quantize(exported("mlp"), SCHEMES["fp32"], None, tmp_path / "q.tflite")


@pytest.mark.parametrize(("rows", "batches"), [(1, 1), (2, 1), (5, 3)])
def test_feeds_are_split_and_filled_to_the_files_batch(rows, batches):
    spec = TensorSpec("x", (2, 3), "float32")
    x = np.arange(rows * 3, dtype=np.float64).reshape(rows, 3)
    fitted = [feed["x"] for feed in stage.fit({"x": x}, (spec,))]
    assert [(f.shape, f.dtype.name) for f in fitted] == [((2, 3), "float32")] * batches
    assert {tuple(row) for f in fitted for row in f} == {tuple(row) for row in x}


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({"y": np.zeros((2, 3), np.float32)}, "no input 'x'"),
        ({"x": np.zeros((2, 4), np.float32)}, "shape"),
        ({"x": np.zeros((0, 3), np.float32)}, "shape"),
        ({"x": np.zeros((2, 3), np.int32)}, "dtype"),
    ],
)
def test_calibration_feeds_that_do_not_fit_are_refused(feed, words):
    with pytest.raises(InvalidTensor, match=words):
        list(stage.fit(feed, (TensorSpec("x", (2, 3), "float32"),)))


class Sum(nn.Module):
    def forward(self, x):
        return (x + x,)


def test_objections(tmp_path):
    exporter.export(Program("sum", Sum().eval(), {"x": np.ones((2, 3), np.float32)}, ("y",)), tmp_path / "sum.tflite")
    assert "keep fp32" in (exporter.objection(tmp_path / "sum.tflite", SCHEMES["w8"]) or "")
    assert "already" in (exporter.objection(quantized("mlp", "w8"), SCHEMES["w8a8"]) or "")
    assert exporter.objection(exported("mlp"), SCHEMES["w8a8"]) is None


def test_weights_that_the_tool_keeps_outside_the_flatbuffer_are_read_back(tmp_path):
    """From some size on it writes data behind the flatbuffer; a file that lost it would load and then fail."""
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)).eval()

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = wide

        def forward(self, x):
            return (self.net(x),)

    x = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    exporter.export(Program("wide", Wide().eval(), {"x": x}, ("y",)), tmp_path / "wide.tflite")
    exporter.quantize(tmp_path / "wide.tflite", SCHEMES["w8"], None, tmp_path / "q.tflite")
    output = load(tmp_path / "q.tflite").run({"x": x})["y"]
    assert relative_l2(output, reference(Wide(), x)[0]) < 0.01
    assert exporter.describe(tmp_path / "q.tflite").bytes_by_dtype["int8"] == 2 * 256 * 1024


def test_files_without_a_signature_are_quantized_under_their_tensor_names(tmp_path):
    model = read_checked(exported("mlp"))
    model.signatureDefs = []
    (tmp_path / "old.tflite").write_bytes(flatbuffer.serialize(model))
    feeds = [{"x": sample("mlp", 8)}]
    exporter.quantize(tmp_path / "old.tflite", SCHEMES["w8a8"], lambda: feeds, tmp_path / "q.tflite")
    assert load(tmp_path / "q.tflite").run({"x": sample("mlp", 2)})["y"].shape == (2, 8)


def test_a_signature_in_another_order_than_the_tensors_keeps_its_names(tmp_path):
    model = read_checked(exported("encoder"))
    model.signatureDefs[0].outputs.reverse()
    (tmp_path / "net.tflite").write_bytes(flatbuffer.serialize(model))
    exporter.quantize(tmp_path / "net.tflite", SCHEMES["w8"], None, tmp_path / "q.tflite")
    shapes = {name: a.shape for name, a in load(tmp_path / "q.tflite").run({"x": sample("encoder", 2)}).items()}
    assert shapes == {"scores": (2, 4), "hidden": (2, 6, 16)}


@pytest.mark.parametrize(("scheme", "version"), [("w8a8-dynamic", 12), ("w8a8", 1), ("w8", 1)])
def test_engines_without_dynamic_ranges_per_channel_refuse_the_file(scheme, version):
    """tflite-runtime 2.14 took version 1 and gave wrong outputs."""
    model = read_checked(quantized("mlp", scheme))
    codes = {
        o.opcodeIndex for o in model.subgraphs[0].operators if flatbuffer.operator_name(model, o) == "FULLY_CONNECTED"
    }
    versions = [model.operatorCodes[index].version for index in codes]
    assert max(versions) >= version and (version == 12 or max(versions) < 12)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-dynamic", "fp16"])
def test_an_operators_code_stands_in_both_fields_for_readers_of_either(scheme):
    """ai-edge-quantizer leaves the older field at 0, which is ADD: OpenVINO then refuses QUANTIZE."""
    entries = read_checked(quantized("cnn", scheme)).operatorCodes
    assert (
        [entry.deprecatedBuiltinCode for entry in entries] == [min(entry.builtinCode, 127) for entry in entries] != []
    )


def test_a_normalisation_behind_a_transposed_convolution(tmp_path):
    """Folded, it leaves a bias of four axes, which the tool quantized along the wrong one: LiteRT refused the file."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight, 0.5, 2.0), nn.init.normal_(norm.bias)
    net = nn.Sequential(nn.ConvTranspose2d(4, 6, 4, 2, 1), norm, nn.ReLU()).eval()
    x = np.random.default_rng(0).standard_normal((1, 4, 5, 5)).astype(np.float32)
    exporter.export(Program("up", Tupled(net), {"x": x}, ("y",), {}, False), tmp_path / "up.tflite")
    exporter.quantize(tmp_path / "up.tflite", SCHEMES["w8a8"], lambda: iter([{"x": x}]), tmp_path / "up.w8a8.tflite")
    output = load(tmp_path / "up.w8a8.tflite").run({"x": x})["y"]
    assert relative_l2(output, net(torch.from_numpy(x)).detach().numpy()) < 0.03


class Tupled(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return (self.module(*inputs),)

"""Dynamic axes: one file for any length, or a refusal that says which axis and why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tflite_models import BATCH, exported, load, module, quantized, reference, sample, worst
from torch import nn

from edgedl.artifact import Artifact, Manifest
from edgedl.errors import EdgedlError, Unsupported
from edgedl.exporter import Program
from edgedl.spec import Axis, TensorSpec, resize
from edgedl_litert import runtime
from edgedl_tflite import exporter
from edgedl_tflite.family import Family, Varying, tracing_pairs


@pytest.mark.parametrize("kind", ["mlp", "cnn", "encoder"])
def test_any_batch_agrees_with_torch(kind):
    session = load(exported(kind, dynamic=True))
    for rows in (1, 2, 5, 33, 1):
        x = sample(kind, rows, seed=rows)
        assert worst(session.run({"x": x}), reference(module(kind), x)) <= 1e-5


def test_the_dynamic_axes_are_described():
    description = exporter.describe(exported("encoder", dynamic=True))
    assert description.inputs[0].shape == ("dynamic", 6)
    assert [spec.shape for spec in description.outputs] == [("dynamic", 4), ("dynamic", 6, 16)]


def test_quantized_files_keep_the_dynamic_batch():
    session = load(quantized("cnn", "w8a8", dynamic=True))
    assert session.inputs[0].shape == ("dynamic", 3, 8, 8)
    assert session.run({"x": sample("cnn", 7)})["y"].shape == (7, 10)


def _check(tmp_path, net, x, axes, lengths):
    torch.manual_seed(0)
    program = Program("net", net.eval(), {"x": x}, ("y",), axes)
    exporter.export(program, tmp_path / "net.tflite")
    session = load(tmp_path / "net.tflite")
    for setting in lengths:
        feed = resize({"x": x}, axes, setting)
        assert worst(session.run(feed), reference(net, feed["x"])) <= 1e-5, setting


class Tokens(nn.Module):
    """A class token expanded along the batch, attention over [batch * heads], and one row picked at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return (self.attention(x, x, x, need_weights=False)[0][:, 0],)


def test_batch_and_time_together(tmp_path):
    axes = {"x": {0: Axis("batch"), 1: Axis("time", 1, 32)}}
    lengths = [{"batch": 1, "time": 1}, {"batch": 3, "time": 30}, {"batch": 16, "time": 2}]
    _check(tmp_path, Tokens(), np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32), axes, lengths)


class Masked(nn.Module):
    def forward(self, x, mask):
        return ((x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True),)


def test_two_inputs_share_an_axis(tmp_path):
    batch, time = Axis("batch"), Axis("time")
    axes = {"x": {0: batch, 1: time}, "mask": {0: batch, 1: time}}
    generator = np.random.default_rng(0)
    feeds = {"x": generator.standard_normal((2, 3, 4)).astype(np.float32), "mask": np.ones((2, 3), np.float32)}
    exporter.export(Program("net", Masked().eval(), feeds, ("y",), axes), tmp_path / "net.tflite")
    specs = [TensorSpec("x", ("batch", "time", 4), "float32"), TensorSpec("mask", ("batch", "time"), "float32")]
    outputs = (TensorSpec("y", ("batch", 4), "float32"),)
    manifest = Manifest("net", "tflite", "fp32", tuple(specs), outputs, 0, "")
    session = runtime.load(Artifact(tmp_path / "net.tflite", manifest), "cpu", 1)
    for setting in ({"batch": 1, "time": 1}, {"batch": 4, "time": 9}):
        feed = resize(feeds, axes, setting)
        assert worst(session.run(feed), reference(Masked(), *feed.values())) <= 1e-5
    with pytest.raises(EdgedlError, match="'time'"):
        session.run({"x": np.ones((2, 3, 4), np.float32), "mask": np.ones((2, 1), np.float32)})


class Own(nn.LSTM):
    """May compute something else, so it is unrolled."""


class Recurrent(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.lstm, self.head = kind(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return (self.head(self.lstm(x)[0][:, -1]),)


def test_an_lstm_takes_any_batch_and_time(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    axes = {"x": {0: Axis("batch"), 1: Axis("time")}}
    _check(tmp_path, Recurrent(nn.LSTM), x, axes, [{"batch": 1, "time": 1}, {"batch": 9, "time": 12}])


def test_the_unrolled_time_of_an_own_lstm_is_refused(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    program = Program("net", Recurrent(Own).eval(), {"x": x}, ("y",), {"x": {1: Axis("time")}})
    with pytest.raises(Unsupported, match=r"axis 1 \('time'\) of input 'x'.*number of operators.*fixed length"):
        exporter.export(program, tmp_path / "time.tflite")


class Temporal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 8, 3, padding=1), nn.Conv1d(8, 4, 3)

    def forward(self, x):
        return (self.second(torch.relu(self.first(x))).amax(-1),)


def test_time_of_a_convolution_above_its_lowest_length(tmp_path):
    axes = {"x": {2: Axis("time", 3, 40)}}
    x = np.random.default_rng(0).standard_normal((2, 4, 9)).astype(np.float32)
    _check(tmp_path, Temporal(), x, axes, [{"time": 3}, {"time": 8}, {"time": 40}])


class Scaled(nn.Module):
    def forward(self, x):
        return (x * x.shape[0],)


def test_a_length_used_as_a_value_is_refused(tmp_path):
    program = Program("net", Scaled().eval(), {"x": np.ones((2, 3), np.float32)}, ("y",), BATCH)
    with pytest.raises(Unsupported, match=r"axis 0 \('batch'\) of input 'x'.*MUL uses a constant.*fixed length"):
        exporter.export(program, tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


class Sorted(nn.Module):
    def forward(self, x):
        return (torch.sort(x + 1)[0],)


class Largest(nn.Module):
    """The converter cuts the largest int64 to -1."""

    def forward(self, x):
        return (x.to(torch.int64).masked_fill(x < 2, torch.iinfo(torch.int64).max).clamp(max=7),)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Sorted(), r"aten\.sort at .*test_tflite_dynamic\.py:\d+ has no TFLite counterpart"),
        (Largest(), "wrong in TFLite at a fixed length too"),
    ],
)
def test_an_axis_is_not_blamed_for_what_is_wrong_at_a_fixed_length(tmp_path, net, words):
    program = Program("net", net.eval(), {"x": np.ones((2, 3), np.float32)}, ("y",), BATCH)
    with pytest.raises(Unsupported, match=words) as caught:
        exporter.export(program, tmp_path / "net.tflite")
    assert "axis" not in str(caught.value)


class Ramp(nn.Module):
    """Weights from 0 to 1 over the whole length: those of a shorter one are no beginning of those of a longer one."""

    def forward(self, x):
        return (x * torch.linspace(0, 1, x.shape[1]).unsqueeze(-1),)


def test_a_constant_of_another_value_for_each_length_is_refused(tmp_path):
    axes = {"x": {1: Axis("time", 1, 8)}}
    program = Program("net", Ramp().eval(), {"x": np.ones((2, 3, 4), np.float32)}, ("y",), axes)
    with pytest.raises(Unsupported, match=r"axis 1 \('time'\) of input 'x'"):
        exporter.export(program, tmp_path / "net.tflite")


def test_tracing_lengths_differ_and_stay_in_range():
    base, other = tracing_pairs({"x": {0: Axis("batch"), 1: Axis("time", 8, 200)}, "y": {0: Axis("batch")}})
    lengths = [*base.values(), *other.values()]
    assert len(set(lengths)) == 4
    assert 2 <= base["batch"] <= 16 and 8 <= base["time"] <= 200


def test_tracing_lengths_of_a_narrow_range_are_two_or_more():
    base, other = tracing_pairs({"x": {0: Axis("batch", 1, 2)}})
    assert base["batch"] != other["batch"] and min(base["batch"], other["batch"]) >= 2


class Positions(nn.Module):
    """A table of positions cut to the length, and a causal mask made for it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 32, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True)

    def forward(self, x):
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        return (self.encoder(x + self.table[:, :length], src_mask=mask),)


def test_tables_of_positions_and_causal_masks_follow_the_length(tmp_path):
    axes = {"x": {0: Axis("batch", 1, 8), 1: Axis("time", 2, 32)}}
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype(np.float32)
    _check(tmp_path, Positions(), x, axes, [{"batch": 1, "time": 2}, {"batch": 3, "time": 9}, {"batch": 1, "time": 32}])
    with pytest.raises(EdgedlError):
        load(tmp_path / "net.tflite").run({"x": np.zeros((1, 33, 8), np.float32)})


def test_transposed_convolutions_follow_the_batch(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, stride=2))
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    axes = {"x": {0: Axis("batch", 1, 8)}}
    _check(tmp_path, Tupled(net), x, axes, [{"batch": 1}, {"batch": 5}])


class Tupled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        return (self.net(x),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7, 7, 7], None),
        ([22, 26, 22], Varying(("b",), 2)),
        ([11 * 17 * 3, 13 * 17 * 3, 11 * 19 * 3], Varying(("b", "t"), 3)),
        ([10, 12, 10], Varying(("b",), None)),
    ],
)
def test_how_a_number_depends_on_the_axes(values, expected):
    family = Family(("b", "t"), {"b": 11, "t": 17}, {"b": 13, "t": 19}, (None, None, None), lambda axis: None)
    assert family.varying(values) == expected

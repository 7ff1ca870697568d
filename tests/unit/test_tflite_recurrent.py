"""Recurrent layers in TFLite: loops that agree with torch, keep no state, and stay small at any length and scheme."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_models import load, reference, relative_l2, worst
from torch import nn

from edgedl import Task
from edgedl.exporter import Program, QuantizationOptions
from edgedl.program import program_of
from edgedl.schemes import SCHEMES
from edgedl.spec import Axis
from edgedl_tflite import exporter
from edgedl_tflite.loops import chunk_length

KINDS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options),
}
INPUT, HIDDEN, TIME, BATCH = 6, 8, 7, 2
NAMES = ("sequence", "hidden", "cell")


class Whole(nn.Module):
    """All that a layer gives: the sequence and the final states."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, *states):
        given = (states if len(states) > 1 else states[0]) if states else None
        sequence, final = self.layer(x, given)
        return (sequence, *(final if isinstance(final, tuple) else (final,)))


def whole(kind, **options):
    torch.manual_seed(0)
    return Whole(KINDS[kind](INPUT, HIDDEN, **options)).eval()


def feeds(network, time=TIME, batch=BATCH, given=False, seed=0):
    """`x`, and the initial states `s0`, `s1` where they are given."""
    layer, generator = network.layer, np.random.default_rng(seed)
    shape = (batch, time, layer.input_size) if layer.batch_first else (time, batch, layer.input_size)
    arrays = {"x": generator.standard_normal(shape).astype(np.float32)}
    if given:
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        for number in range(2 if isinstance(layer, nn.LSTM) else 1):
            state = generator.standard_normal((rows, batch, layer.hidden_size))
            arrays[f"s{number}"] = state.astype(np.float32)
    return arrays


def export(network, inputs, folder, axes=None, outputs=None):
    names = outputs or NAMES[: 3 if isinstance(network.layer, nn.LSTM) else 2]
    path = folder / "net.tflite"
    exporter.export(Program("net", network.eval(), inputs, names, axes or {}), path)
    return path


def error(session, network, arrays):
    return worst(session.run(arrays), reference(network, *arrays.values()))


def operator_count(path):
    return sum(exporter.describe(path).operators.values())


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torch_run_after_run(kind, given, layers, bidirectional, tmp_path):
    network = whole(kind, num_layers=layers, bidirectional=bidirectional, batch_first=given, bias=layers == 2)
    session = load(export(network, feeds(network, given=given), tmp_path))
    for seed in (1, 2, 1):
        assert error(session, network, feeds(network, given=given, seed=seed)) <= 1e-6


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"num_layers": 2}, {"batch_first": True}])
def test_layouts_of_lstm(options, tmp_path):
    network = whole("lstm", **options)
    arrays = feeds(network, given=True)
    assert error(load(export(network, arrays, tmp_path)), network, arrays) <= 1e-6


@pytest.mark.parametrize("resolver", [OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES])
def test_a_bare_interpreter_keeps_no_state_either(resolver, tmp_path):
    network = whole("lstm", bidirectional=True)
    arrays = feeds(network)
    path = export(network, arrays, tmp_path)
    interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for seed in (1, 1, 2):
        arrays = feeds(network, seed=seed)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], arrays["x"])
        interpreter.invoke()
        outputs = {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
        assert worst(outputs, reference(network, *arrays.values())) <= 1e-6


def test_a_run_on_nan_does_not_spoil_the_next(tmp_path):
    network = whole("lstm")
    arrays = feeds(network)
    session = load(export(network, arrays, tmp_path))
    assert np.isnan(session.run({"x": np.full_like(arrays["x"], np.nan)})["cell"]).all()
    assert error(session, network, arrays) <= 1e-6


@pytest.mark.parametrize(("kind", "layers", "bidirectional"), [("lstm", 1, False), ("lstm", 2, True)])
def test_a_hundred_steps_take_few_operators(kind, layers, bidirectional, tmp_path):
    torch.manual_seed(0)
    network = Whole(nn.LSTM(32, 128, layers, bidirectional=bidirectional, batch_first=True))
    arrays = feeds(network, time=100, batch=1)
    path = export(network, arrays, tmp_path)
    assert operator_count(path) <= 80
    assert error(load(path), network, arrays) <= 1e-6


@pytest.mark.parametrize("time", [67, 64])
def test_long_sequences_run_in_chunks(time, tmp_path):
    torch.manual_seed(0)
    network = Whole(nn.GRU(4, 160, bidirectional=True))  # two chunk lengths: one divides 64, none does 67
    arrays = feeds(network, time=time, batch=1, given=True)
    path = export(network, arrays, tmp_path)
    assert exporter.describe(path).operators["WHILE"] == 2
    assert error(load(path), network, arrays) <= 1e-6


def test_chunks_divide_the_length_where_they_can():
    assert chunk_length(100, 512) == 10
    assert chunk_length(101, 512) == 16
    assert chunk_length(100, 4) is None


def test_one_step_needs_no_loop(tmp_path):
    for kind, bidirectional in (("lstm", False), ("gru", True)):
        network = whole(kind, bidirectional=bidirectional)
        arrays = feeds(network, time=1, given=True)
        path = export(network, arrays, tmp_path)
        assert "WHILE" not in exporter.describe(path).operators
        assert error(load(path), network, arrays) <= 1e-6


def test_an_unbatched_sequence(tmp_path):
    network = whole("lstm")
    x = np.random.default_rng(0).standard_normal((TIME, INPUT)).astype(np.float32)
    assert error(load(export(network, {"x": x}, tmp_path)), network, {"x": x}) <= 1e-6


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_batch_and_time_are_dynamic(kind, tmp_path):
    network = whole(kind, bidirectional=True)
    axes = {"x": {0: Axis("time", 1, 12), 1: Axis("batch", 1, 8)}}
    session = load(export(network, feeds(network), tmp_path, axes))
    for time, batch in ((1, 1), (12, 3), (4, 8), (12, 3)):
        assert error(session, network, feeds(network, time, batch)) <= 1e-6


def test_dynamic_batch_with_given_states_in_chunks(tmp_path):
    torch.manual_seed(0)
    network = Whole(nn.LSTM(4, 256, batch_first=True))
    batch = Axis("batch", 1, 8)
    axes = {"x": {0: batch}, "s0": {1: batch}, "s1": {1: batch}}
    path = export(network, feeds(network, 41, 2, True), tmp_path, axes)
    assert exporter.describe(path).operators["WHILE"] == 2
    assert exporter.describe(path).macs == 41 * 4 * 256 * (4 + 256)
    session = load(path)
    for rows in (1, 5):
        assert error(session, network, feeds(network, 41, rows, True)) <= 1e-6


def test_dynamic_time_in_chunks(tmp_path):
    torch.manual_seed(0)
    network = Whole(nn.GRU(4, 128, bidirectional=True))
    axes = {"x": {0: Axis("time", 1, 80), 1: Axis("batch", 1, 4)}}
    path = export(network, feeds(network), tmp_path, axes)
    assert exporter.describe(path).operators["WHILE"] == 2
    session = load(path)
    for time, batch in ((1, 1), (80, 2), (37, 3), (100, 1)):
        assert error(session, network, feeds(network, time, batch)) <= 1e-6


class Last(nn.Module):
    """The last step of the sequence, and the last layer's final state."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(INPUT, HIDDEN, 2, batch_first=True)

    def forward(self, x):
        sequence, final = self.layer(x)
        return sequence[:, -1], final[-1]


def test_the_last_step_of_a_dynamic_time(tmp_path):
    torch.manual_seed(0)
    network = Last()
    axes = {"x": {0: Axis("batch", 1, 4), 1: Axis("time", 1, 12)}}
    session = load(export(network, feeds(network), tmp_path, axes, ("last", "final")))
    for time in (1, 9):
        assert error(session, network, feeds(network, time, 3)) <= 1e-6


class Recognizer(nn.Module):
    """A convolutional front end, two recurrent layers, scores per time step, as for CTC."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, 4, 3, stride=(1, 2), padding=1), nn.ReLU())
        self.layer = nn.LSTM(16, HIDDEN, bidirectional=True, batch_first=True)
        self.second = nn.GRU(2 * HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 5)

    def forward(self, x):
        features = self.front(x).transpose(1, 2).flatten(2)
        return (self.head(self.second(self.layer(features)[0])[0]).log_softmax(-1),)


class Translator(nn.Module):
    """Tokens through an encoder whose final state starts the decoder; one layer is called twice, under two names."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, INPUT)
        self.encoder = self.decoder = nn.GRU(INPUT, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 20)

    def forward(self, source, target):
        _, state = self.encoder(self.embedding(source))
        return (self.head(self.decoder(self.embedding(target), state)[0]),)


def recognizer():
    torch.manual_seed(0)
    return Recognizer().eval(), {"x": np.random.default_rng(0).standard_normal((2, 1, TIME, 8)).astype(np.float32)}


def translator():
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    return Translator().eval(), {
        "source": generator.integers(0, 20, (2, 7)),
        "target": generator.integers(0, 20, (2, 5)),
    }


@pytest.mark.parametrize(("make", "dynamic"), [(recognizer, True), (translator, False)])
def test_whole_networks(make, dynamic, tmp_path):
    network, arrays = make()
    axes = {name: {0: Axis("batch", 1, 8)} for name in arrays} if dynamic else {}
    path = tmp_path / "net.tflite"
    exporter.export(Program("net", network, arrays, ("y",), axes), path)
    rows = {name: array[:1] for name, array in arrays.items()} if dynamic else arrays
    assert error(load(path), network, rows) <= 1e-5


def test_a_layer_called_twice_is_stored_once(tmp_path):
    network, arrays = translator()
    path = tmp_path / "net.tflite"
    exporter.export(Program("net", network, arrays, ("y",)), path)
    weights = sum(p.numel() for p in network.parameters())
    assert exporter.describe(path).parameters <= weights + 3 * HIDDEN  # the zeros that a first state starts from


def recurrent_products(path):
    return [layer.name for layer in exporter.layers(path) if "weight_hh" in layer.name]


def test_loops_and_their_products_bear_the_layer_s_name(tmp_path):
    network = whole("gru", num_layers=2, bidirectional=True)
    path = export(network, feeds(network), tmp_path)
    assert recurrent_products(path) == [f"layer.weight_hh_l{n}{side}" for n in (0, 1) for side in ("", "_reverse")]
    assert [p.name for p in exporter.pieces(path, feeds(network)) if p.kind == "WHILE"] == ["layer", "layer.l1"]
    assert not [layer.name for layer in exporter.layers(path) if layer.name.startswith("edgedl")]


@pytest.mark.parametrize("time", [1, TIME])
def test_the_name_is_that_of_the_layer_wherever_it_is(tmp_path, time):
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleDict({"first": Whole(nn.LSTM(INPUT, HIDDEN))})

        @property
        def layer(self):
            return self.parts["first"].layer

        def forward(self, x):
            return (self.parts["first"](x)[0],)

    network = Nested()
    path = export(network, feeds(network, time), tmp_path, outputs=("y",))
    assert recurrent_products(path) == ["parts.first.layer.weight_hh_l0"]


def test_the_name_is_that_in_the_user_s_module(tmp_path):
    for module, name in ((whole("gru"), "layer"), (nn.GRU(INPUT, HIDDEN), "gru")):
        program = program_of(Task("net", lambda: module, lambda: {"x": np.zeros((TIME, 1, INPUT), np.float32)}), module)  # noqa: B023
        exporter.export(program, tmp_path / f"{name}.tflite")
        assert recurrent_products(tmp_path / f"{name}.tflite") == [f"{name}.weight_hh_l0"]


def test_a_layer_called_twice_has_two_names(tmp_path):
    network, arrays = translator()
    path = tmp_path / "net.tflite"
    exporter.export(Program("net", network, arrays, ("y",)), path)
    assert recurrent_products(path) == ["encoder.weight_hh_l0", "encoder.weight_hh_l0_1"]


def calibration(arrays):
    generator = np.random.default_rng(1)
    noise = {n: generator.standard_normal(a.shape).astype(np.float32) for n, a in arrays.items() if a.dtype.kind == "f"}
    return lambda: [arrays, {**arrays, **noise}]


def quantized(path, name, arrays):
    scheme = SCHEMES[name]
    assert exporter.objection(path, scheme) is None
    target = path.with_name(f"{name}.tflite")
    exporter.quantize(path, scheme, calibration(arrays) if scheme.needs_calibration else None, target)
    return target


@pytest.fixture(scope="module", params=["lstm", "gru", "tanh"])
def floating(request, tmp_path_factory):
    """(network, its inputs, its float file): an LSTM in chunks, a bidirectional GRU, a tanh RNN; large enough for int8 to pay."""
    torch.manual_seed(0)
    kind = request.param
    network = Whole(KINDS[kind](32, 192 if kind == "tanh" else 128, bidirectional=kind == "gru"))
    arrays = feeds(network, time=40 if kind == "lstm" else 12, batch=4 if kind == "lstm" else 1)
    return network, arrays, export(network, arrays, tmp_path_factory.mktemp(kind))


@pytest.mark.parametrize(("name", "smaller"), [("w8", 2.5), ("w8a8-dynamic", 2.5), ("fp16", 1.7), ("w8a8", 2.3)])
def test_schemes_shrink_the_loops_and_stay_close(floating, name, smaller):
    network, arrays, path = floating
    target = quantized(path, name, arrays)
    session = load(target)
    for _ in range(2):
        outputs = session.run(arrays)
        for output, expected in zip(outputs.values(), reference(network, *arrays.values()), strict=True):
            assert relative_l2(output, expected) <= SCHEMES[name].tolerance.relative_rms / 2
    stored = [exporter.describe(p).bytes_by_dtype for p in (path, target)]
    assert sum(stored[0].values()) / sum(stored[1].values()) >= smaller
    assert exporter.describe(target).macs == exporter.describe(path).macs


@pytest.fixture(scope="module")
def dynamic_translator(tmp_path_factory):
    network, arrays = translator()
    path = tmp_path_factory.mktemp("translator") / "net.tflite"
    axes = {key: {0: Axis("batch", 1, 8)} for key in arrays}
    exporter.export(Program("net", network, arrays, ("y",), axes), path)
    return network, arrays, path


@pytest.mark.parametrize("name", ["w8a8-dynamic", "w8a8", "fp16"])
def test_schemes_keep_the_batch_dynamic_and_shared_layers(dynamic_translator, name):
    network, arrays, path = dynamic_translator
    session = load(quantized(path, name, arrays))
    rows = {key: np.repeat(array, 3, axis=0) for key, array in arrays.items()}
    expected = reference(network, *rows.values())[0]
    assert relative_l2(session.run(rows)["y"], expected) <= SCHEMES[name].tolerance.relative_rms


@pytest.mark.parametrize("name", ["w8a8", "w8a8-dynamic"])
def test_a_recurrent_product_can_stay_in_float(floating, name):
    _, arrays, path = floating
    first, *others = [layer.name for layer in exporter.layers(path) if "weight_hh" in layer.name]
    scheme, target = SCHEMES[name], path.with_name(f"{name}.float.tflite")
    runs = calibration(arrays) if scheme.needs_calibration else None
    exporter.quantize(path, scheme, runs, target, QuantizationOptions(keep_float=(first,)))
    whole, partly = (exporter.describe(p).bytes_by_dtype["float32"] for p in (quantized(path, name, arrays), target))
    kept = next(layer.parameters for layer in exporter.layers(path) if layer.name == first)
    assert partly - whole >= 4 * kept * 0.9
    assert [layer.name for layer in exporter.layers(target) if "weight_hh" in layer.name] == [first, *others]


@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3), ("tanh", 1)])
def test_macs_are_those_of_all_time_steps(kind, gates, tmp_path):
    network = whole(kind, bidirectional=True)
    path = export(network, feeds(network), tmp_path)
    assert exporter.describe(path).macs == 2 * TIME * BATCH * gates * HIDDEN * (INPUT + HIDDEN)


def test_macs_of_chunks(tmp_path):
    network = Whole(nn.LSTM(4, 256))
    path = export(network, feeds(network, time=41, batch=1), tmp_path)
    assert exporter.describe(path).macs == 41 * 4 * 256 * (4 + 256)


class Doubled(nn.LSTM):
    def forward(self, input, hx=None):
        sequence, final = super().forward(input, hx)
        return 2 * sequence, final


@pytest.mark.parametrize("layer", [Doubled(INPUT, HIDDEN), nn.LSTM(INPUT, HIDDEN, proj_size=3)])
def test_layers_that_compute_something_else_stay_as_they_are(layer, tmp_path):
    network = Whole(layer).eval()
    arrays = feeds(network, time=3)
    assert error(load(export(network, arrays, tmp_path)), network, arrays) <= 1e-6


def test_the_module_is_left_as_it_was(tmp_path):
    network = whole("gru")
    export(network, feeds(network), tmp_path)
    assert type(network.layer) is nn.GRU

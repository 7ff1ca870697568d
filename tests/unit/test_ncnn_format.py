"""ncnn's files as a format; what needs ncnn and pnnx runs where their wheels are installed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import edgedl
from conftest import Run
from edgedl import Artifact, Axis, Task, registry
from edgedl.errors import EdgedlError, InvalidArtifact, UnknownName, Unsupported
from edgedl.exporter import QuantizationOptions
from edgedl.program import program_of
from edgedl.spec import TensorSpec
from edgedl_pnnx import graph
from edgedl_pnnx.bundle import MEMBERS, Bundle, Port

TEXT = """7767517
4 4
Input                    in0                      0 1 in0
Convolution              conv_0                   1 1 in0 1 0=2 1=1 11=1 5=1 6=6 9=1
Split                    split_0                  1 2 1 2 3
LSTM                     lstm_0                   1 1 2 4 0=2 1=16 2=0
"""
SIZES = [4 * count for count in (1 + 6, 2, 1 + 16, 1 + 8, 1 + 16)]
"""bytes of the buffers, those of the first, third, fourth and fifth with a tag"""


def binary() -> bytes:
    data = bytearray(np.arange(sum(SIZES) // 4, dtype=np.float32).tobytes())
    for start in (0, sum(SIZES[:2]), sum(SIZES[:3]), sum(SIZES[:4])):
        data[start : start + 4] = bytes(4)
    return bytes(data)


class TestGraph:
    def test_what_is_read_is_written_again(self) -> None:
        layers = graph.read(TEXT, binary(), "net")
        assert [[w.values.size for w in layer.weights] for layer in layers] == [[], [6, 2], [], [16, 8, 16]]
        text, data = graph.written(layers)
        assert data == binary()
        assert [line.split() for line in text.splitlines()][2:] == [line.split() for line in TEXT.splitlines()][2:]

    def test_a_narrow_buffer_is_padded_to_four_bytes(self) -> None:
        narrow = graph.Weights(np.array([1, -2, 3, 4, 5], np.int8), tagged=True)
        assert narrow.to_bytes() == b"\x38\x4b\x0d\x00" + b"\x01\xfe\x03\x04\x05" + bytes(3)

    def test_weights_that_are_not_known_are_named(self) -> None:
        text = TEXT.replace("LSTM ", "Normalize ")
        with pytest.raises(Unsupported, match="net has layers whose weights edgedl does not read: Normalize"):
            graph.read(text, binary(), "net")

    def test_an_attention_without_a_width_is_no_crash(self) -> None:
        text = "7767517\n1 1\nMultiHeadAttention a 1 1 x y 0=0 2=16\n"
        with pytest.raises(InvalidArtifact, match="net is not a whole ncnn model"):
            graph.read(text, bytes(64), "net")

    @pytest.mark.parametrize(
        ("line", "sizes"),
        [
            ("Deconvolution d 1 1 in0 1 0=2 1=2 3=2 5=1 6=8 19=1", [(8, True), (2, False)]),
            ("Deconvolution d 2 1 in0 in0 1 0=2 1=2 5=1 6=8 28=1", []),
            ("DeconvolutionDepthWise1D d 1 1 in0 1 0=2 1=4 6=8 7=2", [(8, True)]),
            ("Convolution3D c 1 1 in0 1 0=2 1=3 5=1 6=54", [(54, True), (2, False)]),
            ("GroupNorm n 1 1 in0 1 0=2 1=4 2=1e-5 3=1", [(4, False), (4, False)]),
            ("GroupNorm n 1 1 in0 1 0=2 1=4 3=0", []),
            ("InstanceNorm n 1 1 in0 1 0=4 1=1e-5 2=1", [(4, False), (4, False)]),
            ("RMSNorm n 1 1 in0 1 0=4 1=1e-5 2=1", [(4, False)]),
            ("Scale s 1 1 in0 1 0=3 1=1", [(3, False), (3, False)]),
            ("Scale s 2 1 in0 in0 1 0=-233", []),
        ],
    )
    def test_what_each_kind_of_layer_loads(self, line: str, sizes: list[tuple[int, bool]]) -> None:
        weights = [graph.Weights(np.ones(size, np.float32), tagged) for size, tagged in sizes]
        text = f"7767517\n2 2\nInput in0 0 1 in0\n{line}\n"
        layers = graph.read(text, b"".join(w.to_bytes() for w in weights), "net")
        assert [(w.values.size, w.tagged) for w in layers[1].weights] == sizes

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_damage_is_no_crash(self, data: st.DataObject) -> None:
        text, content = bytearray(TEXT.encode()), bytearray(binary())
        for target in (text, content):
            for _ in range(data.draw(st.integers(0, 3))):
                target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 127))
        del content[data.draw(st.integers(0, len(content))) :]
        try:
            layers = graph.read(text.decode(), bytes(content), "net")
        except (InvalidArtifact, Unsupported) as error:
            assert str(error).startswith("net ")
        else:
            assert len(layers) == len(text.splitlines()) - 2


BUNDLE = Bundle(TEXT, binary(), (Port(TensorSpec("x", ("batch", 3), "float32"), "in0", 0),), ())


class TestBundle:
    def test_it_holds_the_two_files_of_an_app_and_is_the_same_each_time(self, tmp_path: Path) -> None:
        path = tmp_path / "net.ncnn"
        path.write_bytes(BUNDLE.to_bytes())
        assert Bundle.read(path) == BUNDLE
        assert Bundle.read(path).to_bytes() == path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            assert tuple(archive.namelist()) == MEMBERS
            assert archive.read("model.bin") == binary()

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_damage_is_told(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        from edgedl_ncnn.files import read

        content = bytearray(BUNDLE.to_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path = tmp_path_factory.mktemp("damaged") / "net.ncnn"
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        for reader in (Bundle.read, read):
            try:
                assert reader(path).weights == binary()
            except InvalidArtifact as error:
                assert "net.ncnn" in str(error)


class Net(nn.Module):
    """A convolution whose output goes into one convolution alone, a depthwise one, a sum, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.third, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.head((x + self.third(torch.relu(self.second(x)))).mean((2, 3)))


def task() -> Task:
    torch.manual_seed(0)
    module = Net().eval()
    rows = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    axes: dict[str, dict[int, str | Axis]] = {"x": {0: Axis("batch", 1, 8)}}
    return Task("net", lambda: module, lambda: {"x": rows[:1]}, axes, ("y",), lambda: [{"x": rows}])


class TestExporter:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("ncnn")
        pytest.importorskip("pnnx")

    @pytest.fixture(scope="class")
    def made(self, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
        pytest.importorskip("pnnx")
        return edgedl.export(task(), ("ncnn",), tmp_path_factory.mktemp("ncnn"))[0]

    def test_a_file_is_proven_over_its_batches_and_described(self, made: Artifact) -> None:
        assert made.manifest
        assert [p["case"] for p in made.manifest.evidence["parity"]] == ["batch=1", "batch=3", "batch=8"]
        assert max(p["relative_rms"] for p in made.manifest.evidence["parity"]) < 1e-5
        told = registry.exporter("ncnn").describe(made.path)
        assert [str(spec) for spec in told.inputs] == ["x: float32[batch, 3, 8, 8]"]
        assert told.parameters == sum(p.numel() for p in Net().parameters())
        assert told.macs == 64 * (3 * 8 * 9 + 8 * 9 + 8 * 8) + 8 * 5
        assert {"Convolution": 2, "ConvolutionDepthWise": 1, "InnerProduct": 1}.items() <= told.operators.items()

    def test_its_work_is_that_of_the_onnx_file(self, made: Artifact, tmp_path: Path) -> None:
        (other,) = edgedl.export(task(), ("onnx",), tmp_path)
        one, same = (
            registry.exporter(artifact.format).workload(artifact.path).features() for artifact in (made, other)
        )
        assert one == same
        narrow = edgedl.quantize(made, "w8a8", task=task(), out=tmp_path)
        assert registry.exporter("ncnn").workload(narrow.path).features() == one
        assert registry.exporter("ncnn").workload(narrow.path).scheme == "w8a8"

    @pytest.mark.parametrize(
        ("kind", "told"),
        [
            ("LSTM", "recurrent"),
            ("MatMul", "attention"),
            ("Deconvolution3D", "unknown"),
            ("DeformableConv2D", "unknown"),
        ],
    )
    def test_what_no_prediction_was_fitted_to_is_told(self, kind: str, told: str) -> None:
        from edgedl_pnnx.workload import operations

        layer = graph.Layer(kind, "one", ("a",), ("b",), {})
        assert [one.kind for one in operations([layer], {"a": (1, 2, 2), "b": (1, 4, 4)})] == [told]

    def test_int8_is_as_near_as_int8_can_be(self, made: Artifact, tmp_path: Path) -> None:
        narrow = edgedl.quantize(made, "w8a8", task=task(), out=tmp_path)
        assert narrow.manifest
        assert max(p["relative_rms"] for p in narrow.manifest.evidence["parity"]) < 0.05
        assert narrow.manifest.scheme == "w8a8" and narrow.size < 0.6 * made.size
        exporter = registry.exporter("ncnn")
        stored = {line.operator: line.dtype for line in exporter.describe(narrow.path).ledger if line.weights}
        assert stored == dict.fromkeys(("Convolution", "ConvolutionDepthWise", "InnerProduct"), "int8")
        assert exporter.describe(narrow.path).parameters == exporter.describe(made.path).parameters

    def test_a_layer_gives_int8_only_to_one_int8_layer_alone(self, made: Artifact, tmp_path: Path) -> None:
        edgedl.quantize(made, "w8a8", task=task(), out=tmp_path)
        bundle = Bundle.read(tmp_path / "net.w8a8.ncnn")
        layers = graph.read(bundle.param, bundle.weights, "net")
        terms = [layer.number(8) for layer in layers if layer.kind in ("Convolution", "ConvolutionDepthWise")]
        assert terms == [2, 101, 2]  # the first is read twice, the last by a sum

    def test_a_layer_can_stay_in_float(self, made: Artifact, tmp_path: Path) -> None:
        exporter = registry.exporter("ncnn")
        first = exporter.layers(made.path)[0]
        assert (first.operator, first.parameters, first.macs) == ("Convolution", 3 * 8 * 9 + 8, 64 * 3 * 8 * 9)
        options = QuantizationOptions(keep_float=(first.name,))
        narrow = edgedl.quantize(made, "w8a8", task=task(), out=tmp_path, options=options)
        ledger = exporter.describe(narrow.path).ledger
        assert {line.dtype for line in ledger if line.operator == "Convolution" and line.weights} == {"int8", "float32"}
        with pytest.raises(UnknownName, match=first.name):
            edgedl.quantize(
                made, "w8a8", task=task(), out=tmp_path, force=True, options=QuantizationOptions(keep_float=("conv",))
            )
        with pytest.raises(Unsupported, match="w8a8 in ncnn has no smooth"):
            edgedl.quantize(
                made, "w8a8", task=task(), out=tmp_path, force=True, options=QuantizationOptions(smooth=0.5)
            )

    def test_a_network_that_would_stay_in_float_is_objected_to(self, tmp_path: Path) -> None:
        class Recurrent(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.lstm(x)[0][:, -1])

        rows = np.random.default_rng(0).standard_normal((1, 6, 4)).astype(np.float32)
        (made,) = edgedl.export(Task("net", Recurrent, lambda: {"x": rows}), ("ncnn",), tmp_path)
        with pytest.raises(
            Unsupported, match=r"91% of the weights of net.ncnn are in LSTM, which w8a8 leaves in float"
        ):
            edgedl.quantize(made, "w8a8", task=task(), out=tmp_path)

    def test_every_tensor_can_be_looked_at(self, made: Artifact) -> None:
        feeds = {"x": np.ones((1, 3, 8, 8), np.float32)}
        found = dict(registry.exporter("ncnn").intermediates(made.path, feeds))
        np.testing.assert_allclose(found["out0"].ravel(), made_by_torch(feeds["x"]), rtol=1e-4, atol=1e-6)
        assert any(array.shape == (8, 8, 8) for array in found.values())

    def test_a_decoder_with_deconvolutions_and_group_norms(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(4, 4, 2, 2, groups=4),
        ).eval()  # fmt: skip
        rows = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
        net = Task("net", lambda: module, lambda: {"x": rows[:1]}, {"x": {0: "batch"}}, (), lambda: [{"x": rows}])
        (made,) = edgedl.export(net, ("ncnn",), tmp_path)
        told = registry.exporter("ncnn").describe(made.path)
        assert told.parameters == sum(p.numel() for p in module.parameters())
        assert told.macs == 4 * 4 * 3 * 8 * 9 + 4 * 4 * 8 * 4 * 16 + 8 * 8 * 4 * 4
        with pytest.raises(Unsupported, match="quantize its ONNX or TFLite file "):
            edgedl.quantize(made, "w8a8", task=net)
        narrow = edgedl.quantize(made, "w8a8", task=net, allow_slower=True)
        assert narrow.manifest and narrow.manifest.evidence["passed"]

    def test_what_pnnx_lacks_is_named_and_nothing_is_left(self, tmp_path: Path) -> None:
        class Sums(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.cumsum(1)

        wanted = Task("sums", Sums, lambda: {"x": np.ones((2, 3), np.float32)})
        with pytest.raises(Unsupported, match="sums is not for ncnn, which has no layer for CumSum"):
            edgedl.export(wanted, ("ncnn",), tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_rows_that_are_flattened_keep_their_batch(self, tmp_path: Path) -> None:
        """pnnx takes the batch for a part of the row."""
        (made,) = edgedl.export(flat(axes={"x": {0: "batch"}}), ("ncnn",), tmp_path)
        assert made.manifest and made.manifest.inputs[0].shape == ("batch", 3, 4)
        assert edgedl.export(flat(axes={}), ("ncnn",), tmp_path, force=True)[0].path.is_file()

    def test_a_graph_that_was_trained_in_int8_is_refused(self, tmp_path: Path) -> None:
        from dataclasses import replace

        program = replace(program_of(task(), task().model()), quantized=True)
        with pytest.raises(Unsupported, match="export the float model, and edgedl quantize it"):
            registry.exporter("ncnn").export(program, tmp_path / "net.ncnn")

    def test_a_damaged_file_is_refused(self, made: Artifact, tmp_path: Path) -> None:
        path = tmp_path / "net.ncnn"
        path.write_bytes(made.path.read_bytes()[:-40])
        for attempt in (edgedl.load, registry.exporter("ncnn").describe, registry.exporter("ncnn").layers):
            with pytest.raises(EdgedlError, match=r"net\.ncnn is not a whole ncnn model"):
                attempt(path)

    def test_on_the_command_line(self, quick_command: Run, tmp_path: Path) -> None:
        path = files_of_edgedl() / "sum.ncnn"
        shown = quick_command("inspect", str(path), cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "BinaryOp 1" in shown.stdout and "input       a: float32[1]" in shown.stdout
        refused = quick_command("quantize", str(path), "--scheme", "w8", cwd=tmp_path)
        assert refused.returncode == 2 and "w8a8" in refused.stderr


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def flat(axes: dict[str, dict[int, str | Axis]]) -> Task:
    rows = np.random.default_rng(0).standard_normal((2 if axes else 1, 3, 4)).astype(np.float32)
    return Task("flat", Flat, lambda: {"x": rows}, axes)


def files_of_edgedl() -> Path:
    return Path(edgedl.__file__).parent / "models"


def made_by_torch(x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return task().model()(torch.from_numpy(x)).numpy().ravel()

"""How a scheme is carried out: the options, and the layers that they name, in both formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_models import Residual, floats
from tflite_models import CNN, MLP, sample

from edgedl import QuantizationOptions, Task, registry
from edgedl.errors import InvalidInput, UnknownName, Unsupported
from edgedl.exporter import Exporter
from edgedl.program import program_of
from edgedl.schemes import SCHEMES

FORMATS = ["onnx", "tflite"]
NETWORKS: dict[str, Any] = {"mlp": MLP, "cnn": CNN}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(format, network) -> the float file."""
    folder = tmp_path_factory.mktemp("options")
    made = {}
    for name, network in NETWORKS.items():
        module = network().eval()
        task = Task(name, lambda module=module: module, lambda name=name: {"x": sample(name, 1)}, outputs=("y",))
        for format in FORMATS:
            made[format, name] = folder / f"{name}.{format}"
            registry.exporter(format).export(program_of(task, module), made[format, name])
    return made


def quantized(exporter: Exporter, source: Path, scheme: str, folder: Path, **options: Any) -> Path:
    path, kind = folder / f"q{exporter.suffix}", source.stem
    calibration = lambda: [{"x": row[None]} for row in sample(kind, 16, seed=1)]  # noqa: E731
    exporter.quantize(source, SCHEMES[scheme], calibration, path, QuantizationOptions(**options))
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_layers_are_named_with_their_cost(files: dict[tuple[str, str], Path], format: str) -> None:
    layers = registry.exporter(format).layers(files[format, "mlp"])
    assert [(layer.parameters, layer.macs) for layer in layers] == [
        (16 * 64 + 64, 16 * 64), (64 * 64 + 64, 64 * 64), (64 * 8 + 8, 64 * 8),
    ]  # fmt: skip
    assert len({layer.name for layer in layers}) == 3


@pytest.mark.parametrize("scheme", ["fp16", "w8", "w8a8-dynamic", "w8a8"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("format", FORMATS)
def test_names_survive_the_quantization(
    files: dict[tuple[str, str], Path], tmp_path: Path, format: str, network: str, scheme: str
) -> None:
    exporter = registry.exporter(format)
    before = exporter.layers(files[format, network])
    after = exporter.layers(quantized(exporter, files[format, network], scheme, tmp_path))
    assert [layer.name for layer in after] == [layer.name for layer in before]
    assert [layer.operator for layer in after if layer.operator != "MatMul"] == [
        layer.operator for layer, there in zip(before, after, strict=True) if there.operator != "MatMul"
    ]


@pytest.mark.parametrize("scheme", ["fp16", "w8", "w8a8-dynamic", "w8a8"])
@pytest.mark.parametrize("format", FORMATS)
def test_layers_that_stay_float_keep_their_weights(
    files: dict[tuple[str, str], Path], tmp_path: Path, format: str, scheme: str
) -> None:
    exporter, source = registry.exporter(format), files[format, "mlp"]
    middle = exporter.layers(source)[1]
    stored = {
        kept: exporter.describe(quantized(exporter, source, scheme, tmp_path, keep_float=kept)).bytes_by_dtype
        for kept in ((), (middle.name,))
    }
    assert stored[(middle.name,)]["float32"] - stored[()].get("float32", 0) >= 4 * 64 * 63
    narrow = "float16" if scheme == "fp16" else "int8"
    assert stored[()][narrow] - stored[(middle.name,)][narrow] >= 64 * 64


@pytest.mark.parametrize("scheme", ["fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_layer_kept_leaves_nothing_to_do(
    files: dict[tuple[str, str], Path], tmp_path: Path, format: str, scheme: str
) -> None:
    exporter, source = registry.exporter(format), files[format, "mlp"]
    names = tuple(layer.name for layer in exporter.layers(source))
    with pytest.raises(Unsupported, match=rf"every layer stays in float .* all 3\): nothing is left for {scheme} in "):
        quantized(exporter, source, scheme, tmp_path, keep_float=names)
    assert not list(tmp_path.iterdir())


def scales(exporter: Exporter, path: Path) -> int:
    """Distinct rounding steps of the layers' weights."""
    if exporter.format == "onnx":
        import onnx
        from onnx import numpy_helper

        named = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        return max(array.size for name, array in named.items() if "scale" in name)
    from edgedl_tflite.check import read_checked

    tensors = [t for t in read_checked(path).subgraphs[0].tensors if t.quantization is not None]
    return max(len(t.quantization.scale) for t in tensors if t.quantization.scale is not None)


@pytest.mark.parametrize("scheme", ["w8", "w8a8-dynamic", "w8a8"])
@pytest.mark.parametrize("format", FORMATS)
def test_one_scale_for_a_tensor(files: dict[tuple[str, str], Path], tmp_path: Path, format: str, scheme: str) -> None:
    exporter, source = registry.exporter(format), files[format, "mlp"]
    assert scales(exporter, quantized(exporter, source, scheme, tmp_path)) == 64
    assert scales(exporter, quantized(exporter, source, scheme, tmp_path, per_channel=False)) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_a_layer_that_is_not_there(files: dict[tuple[str, str], Path], tmp_path: Path, format: str) -> None:
    exporter, source = registry.exporter(format), files[format, "mlp"]
    name = exporter.layers(source)[0].name
    with pytest.raises(UnknownName, match="did you mean"):
        quantized(exporter, source, "w8", tmp_path, keep_float=(name[:-1],))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_options_that_a_scheme_has_no_use_for(files: dict[tuple[str, str], Path], tmp_path: Path, format: str) -> None:
    with pytest.raises(Unsupported, match=r"fp16 in .* has no per_channel: its options are keep_float"):
        quantized(registry.exporter(format), files[format, "mlp"], "fp16", tmp_path, per_channel=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [({"calibrator": "entropie"}, "did you mean 'entropy'"), ({"smooth": 1.5}, "0 to 1"), ({"smooth": -0.1}, "0 to 1")],
)
def test_impossible_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        QuantizationOptions(**options)


def test_changed_names_what_differs() -> None:
    assert QuantizationOptions().changed() == ()
    assert QuantizationOptions(smooth=0.5, keep_float=("a",)).changed() == ("smooth", "keep_float")


def test_nodes_without_names_are_called_by_their_outputs(tmp_path: Path) -> None:
    import onnx

    exporter, module = registry.exporter("onnx"), Residual().eval()
    task = Task("net", lambda: module, lambda: {"image": floats(2, 3, 8, 8)})
    exporter.export(program_of(task, module), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "bare.onnx")
    layers = exporter.layers(tmp_path / "bare.onnx")
    assert [layer.name for layer in layers] == [layer.output for layer in layers]
    options = QuantizationOptions(keep_float=(layers[1].name,))
    feeds = [{"image": floats(2, 3, 8, 8, seed=1)}]
    exporter.quantize(tmp_path / "bare.onnx", SCHEMES["w8a8"], lambda: feeds, tmp_path / "q.onnx", options)
    assert [layer.name for layer in exporter.layers(tmp_path / "q.onnx")] == [layer.name for layer in layers]
    kept = next(n for n in onnx.load(tmp_path / "q.onnx").graph.node if n.name == layers[1].name)
    assert not kept.input[1].endswith("DequantizeLinear_Output")

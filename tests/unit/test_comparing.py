from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgedl
from edgedl import Artifact, TaskReference
from edgedl.comparing import compare
from edgedl.comparison import Comparison, Layer
from edgedl.errors import InvalidArtifact, InvalidInput, InvalidTensor
from edgedl.report.layers import decibels, headline, render

DIGITS = Path(edgedl.__file__).parent / "zoo" / "digits.py"


@pytest.fixture(scope="module")
def narrow(digits_onnx: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return edgedl.quantize(digits_onnx, "w8", tmp_path_factory.mktemp("w8"))


@pytest.fixture
def foreign(digits_onnx: Artifact, tmp_path: Path) -> Path:
    """The file alone, as if from elsewhere."""
    return Path(shutil.copy(digits_onnx.path, tmp_path / "foreign.onnx"))


def spoiled(path: Path, layer: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    model = onnx.load(str(path))
    (weight,) = [t for t in model.graph.initializer if t.name.endswith(f"{layer}.weight")]
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight).copy()), weight.name))
    onnx.save(model, str(path.with_name("spoiled.onnx")))
    return path.with_name("spoiled.onnx")


def test_figures_are_those_of_the_definitions(digits_onnx: Artifact, narrow: Artifact) -> None:
    found = compare(digits_onnx, narrow)
    assert (found.a, found.b, found.inputs) == (str(digits_onnx.path), str(narrow.path), "calibration")
    assert [layer.name for layer in found.layers][-1] == "logits"
    task = edgedl.TaskReference("zoo:digits").resolve()
    assert task.calibration
    batches = list(task.calibration())[: found.runs]
    with edgedl.load(digits_onnx) as a, edgedl.load(narrow) as b:
        want = np.concatenate([a.run(feeds)["logits"] for feeds in batches]).astype(np.float64)
        got = np.concatenate([b.run(feeds)["logits"] for feeds in batches]).astype(np.float64)
    logits = found.layers[-1]
    assert logits.sqnr_db == pytest.approx(10 * np.log10((want**2).sum() / ((want - got) ** 2).sum()), rel=1e-3)
    assert logits.cosine == pytest.approx((want * got).sum() / np.linalg.norm(want) / np.linalg.norm(got), rel=1e-6)


def test_torch_on_either_side_is_what_is_held_against(digits_onnx: Artifact) -> None:
    left, right = compare("torch", digits_onnx), compare(digits_onnx, "torch")
    assert left == right
    assert left.a.startswith("torch ")
    assert min(layer.sqnr_db for layer in left.layers) > 100


def test_source_lines_are_the_users(digits_onnx: Artifact, narrow: Artifact) -> None:
    layers = compare(digits_onnx, narrow).layers
    source = DIGITS.read_text().splitlines()
    assert layers
    for layer in layers:
        assert layer.line is not None
        file, _, line = layer.line.rpartition(":")
        assert Path(file) == DIGITS
        assert re.search(r"self\.(pool|residual|head)\(", source[int(line) - 1])


def test_the_spoiled_layer_is_where_it_gets_worse(foreign: Path) -> None:
    def one_filter(weight: np.ndarray) -> np.ndarray:
        weight[3] *= 1.5
        return weight

    found = compare(foreign, spoiled(foreign, "residual.0", one_filter))
    noise = {layer.name: layer.sqnr_db for layer in found.layers}
    assert [name for name, value in noise.items() if math.isfinite(value)] == [
        "getitem_6",
        "relu_2",
        "add_50",
        "mean",
        "logits",
    ]
    assert found.inputs == "seeded"
    assert found.without_lines
    assert found.layers[0].line is None


def test_a_file_from_elsewhere_finds_its_original_by_the_task(foreign: Path, digits_weights: Path) -> None:
    found = compare(TaskReference("zoo:digits", str(digits_weights)), foreign)
    assert found.a.startswith("torch")
    assert found.layers[-1].name == "logits"


def test_what_is_not_finite_is_the_worst(foreign: Path) -> None:
    found = compare(foreign, spoiled(foreign, "head", lambda weight: weight * np.float32("nan")))
    assert found.worst_first[0].name == "logits"
    assert math.isnan(found.worst_first[0].sqnr_db)
    assert "SQNR not finite" in headline(found)


def test_formats_are_compared_by_what_they_hold(digits_onnx: Artifact, digits_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    other = edgedl.export(TaskReference("zoo:digits", str(digits_weights)), ("tflite",), tmp_path)[0]
    found = compare(digits_onnx, other)
    assert {"relu", "relu_1", "max_pool2d", "relu_2", "add_50", "mean", "logits"} <= {x.name for x in found.layers}
    assert min(layer.sqnr_db for layer in found.layers) > 100


def test_given_inputs(foreign: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).random((3, 1, 8, 8), np.float32)
    np.save(tmp_path / "rows.npy", rows)
    assert compare(foreign, foreign, calibration=str(tmp_path / "rows.npy")).inputs == "given"
    np.save(tmp_path / "odd.npy", rows[:, :, :4])
    with pytest.raises(InvalidTensor, match="shape"):
        compare(foreign, foreign, calibration=str(tmp_path / "odd.npy"))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ("torch", "torch", "neither side is a model file"),
        ("torch", "foreign.onnx", "names no task; give it with --task"),
    ],
)
def test_nothing_to_compare(foreign: Path, monkeypatch: pytest.MonkeyPatch, a: str, b: str, said: str) -> None:
    monkeypatch.chdir(foreign.parent)
    with pytest.raises(InvalidInput, match=said):
        compare(a, b)


def test_a_broken_file_is_refused(foreign: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(foreign.read_bytes()[:500])
    with pytest.raises(InvalidArtifact, match="not a whole ONNX model"):
        compare(foreign, broken)


@pytest.mark.parametrize(
    ("value", "words"), [(30.04, "30.0"), (math.inf, "equal"), (-math.inf, "all noise"), (math.nan, "not finite")]
)
def test_decibels_in_words(value: float, words: str) -> None:
    assert decibels(value) == words


@pytest.mark.parametrize(("suffix", "start"), [(".html", "<!doctype html>"), (".svg", '<svg xmlns="http')])
def test_drawings_load_nothing_and_escape_names(suffix: str, start: str) -> None:
    layers = (
        Layer("<b>&x", "<b>&x", None, (2, 3), 12.5, 0.97, -1.0, 2.0),
        Layer("y", "z", "net.py:3", (2,), math.inf, 1.0, 0, 1),
    )
    drawn = render(Comparison("a.onnx", "b.onnx", "seeded", 3, layers, ()), suffix)
    assert drawn.startswith(start)
    assert "<b>" not in drawn
    assert drawn.count("<rect") == 2
    assert not re.search(r"""(src|href)=["']?http|url\(|@import""", drawn)

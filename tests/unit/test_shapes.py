"""Several fixed shapes of one model: `--shape`, signatures in one TFLite file, and the session that chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Task
from edgedl.errors import InvalidInput, InvalidTensor
from edgedl.registry import exporter
from edgedl.shapes import parse_shape, with_shapes


class Encoder(nn.Module):
    """[batch, time] int64 -> ([batch, time, 3], [batch, time, 16]); the second feeds the first."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.layer(self.embedding(tokens))
        return self.head(features), features


def tokens(batch: int = 2, time: int = 9) -> dict[str, np.ndarray]:
    return {"tokens": np.random.default_rng(0).integers(0, 50, (batch, time))}


def task(**options: object) -> Task:
    torch.manual_seed(0)
    module = Encoder()
    return Task(
        "encoder",
        lambda: module,
        tokens,
        outputs=("scores", "features"),
        calibration=lambda: [tokens(8, 32)],
        **options,
    )  # type: ignore[arg-type]


SHAPES = ("tokens=1x8", "tokens=1x32", "tokens=4x8")


def test_parse_shape() -> None:
    assert parse_shape("x=1x16x40") == {"x": (1, 16, 40)}
    assert parse_shape("tokens=1x16,mask=1x16") == {"tokens": (1, 16), "mask": (1, 16)}
    for text in ("", "x", "x=", "=1x2", "x=1x", "x=0x2", "x=ax2", "x=1x2,", "x=-1x2"):
        with pytest.raises(InvalidInput, match="is not INPUT=SHAPE"):
            parse_shape(text)


def test_shapes_must_fit_the_inputs() -> None:
    with pytest.raises(InvalidInput, match=r"'words' of 2 axes is not among the inputs \(tokens of 2 axes\)"):
        with_shapes(task(), ("words=1x8",))
    with pytest.raises(InvalidInput, match="'tokens' of 3 axes"):
        with_shapes(task(), ("tokens=1x8x1",))


def test_axes_that_go_together_share_a_name() -> None:
    module = nn.Identity()
    two = Task(
        "two", lambda: module, lambda: {"x": np.zeros((1, 4, 2), np.float32), "mask": np.zeros((1, 4), np.float32)}
    )
    shaped = with_shapes(two, ("x=1x4x2,mask=1x4", "x=1x9x2,mask=1x9"))
    assert {name: {n: axis.name for n, axis in axes.items()} for name, axes in shaped.dynamic_axes.items()} == {  # type: ignore[union-attr]
        "x": {1: "x_1"},
        "mask": {1: "x_1"},
    }
    assert shaped.signatures == ({"x_1": 4}, {"x_1": 9})


def test_one_shape_is_a_fixed_one() -> None:
    shaped = with_shapes(task(dynamic_axes={"tokens": {0: "batch"}}), ("tokens=3x5",))
    assert (shaped.dynamic_axes, shaped.signatures) == ({}, ())
    assert shaped.example_inputs()["tokens"].shape == (3, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signatures")
    edgedl.export(with_shapes(task(), SHAPES), ["tflite"], path)
    return path


def test_the_session_chooses_by_the_input_and_says_what_is_there(folder: Path) -> None:
    module = task().model()
    with edgedl.load(folder / "encoder.tflite") as session:
        assert session.inputs[0].shape == ("1|4", "8|32")
        for shape in ((1, 8), (1, 32), (4, 8), (1, 8)):
            feeds = tokens(*shape)
            with torch.no_grad():
                scores, features = module(torch.from_numpy(feeds["tokens"]))
            outputs = session.run(feeds)
            assert np.allclose(outputs["scores"], scores, atol=1e-5)
            assert np.allclose(outputs["features"], features, atol=1e-5)
        with pytest.raises(
            InvalidTensor, match="tokens=2x8 is none of the signatures: tokens=1x8; tokens=1x32; tokens=4x8"
        ):
            session.run(tokens(2, 8))


def test_the_weights_are_held_once(folder: Path) -> None:
    single = folder / "single"
    edgedl.export(with_shapes(task(), SHAPES[:1]), ["tflite"], single)
    several, one = (
        exporter("tflite").describe(path) for path in (folder / "encoder.tflite", single / "encoder.tflite")
    )
    assert several.parameters < 1.05 * one.parameters
    assert sum(several.operators.values()) > 2.5 * sum(one.operators.values())


@pytest.mark.parametrize("scheme", ["w8", "w8a8-dynamic", "w8a8"])
def test_every_signature_is_quantized(folder: Path, scheme: str) -> None:
    quantized = edgedl.quantize(folder / "encoder.tflite", scheme, task=with_shapes(task(), SHAPES))
    assert quantized.manifest
    assert len(quantized.manifest.evidence["parity"]) == 2 * len(SHAPES)


def test_an_output_that_feeds_another_operator_survives_static_quantization(tmp_path: Path) -> None:
    fixed = with_shapes(task(), SHAPES[:1])
    (artifact,) = edgedl.export(fixed, ["tflite"], tmp_path)
    assert edgedl.quantize(artifact, "w8a8", task=fixed).manifest


def test_in_onnx_the_same_shapes_are_dynamic_axes(tmp_path: Path) -> None:
    (artifact,) = edgedl.export(with_shapes(task(), SHAPES), ["onnx"], tmp_path)
    assert artifact.manifest
    assert artifact.manifest.inputs[0].shape == ("tokens_0", "tokens_1")
    assert {p["case"] for p in artifact.manifest.evidence["parity"]} == {
        "tokens_0=1, tokens_1=8", "tokens_0=1, tokens_1=32", "tokens_0=4, tokens_1=8",
    }  # fmt: skip

"""What a file holds, and what happens to files that hold nothing sensible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_models import exported, load, module, quantized, reference, sample

from edgedl.errors import EdgedlError, InvalidArtifact, InvalidTensor
from edgedl.exporter import Description
from edgedl.spec import TensorSpec
from edgedl_tflite import exporter
from edgedl_tflite.check import parse_checked


def test_mlp_counts():
    description = exporter.describe(exported("mlp"))
    assert description.operators == {"FULLY_CONNECTED": 3}
    assert description.parameters == sum(p.numel() for p in module("mlp").parameters())
    assert description.macs == 2 * (16 * 64 + 64 * 64 + 64 * 8)
    assert description.bytes_by_dtype == {"float32": 4 * description.parameters}
    assert description.inputs == (TensorSpec("x", (2, 16), "float32"),)
    assert description.opset is None


def test_cnn_macs_are_those_of_the_layers():
    rows = 2
    stem, depthwise, pointwise, head = 3 * 9 * 16 * 16, 9 * 16 * 16, 16 * 16 * 16, 256 * 10
    assert exporter.describe(exported("cnn")).macs == rows * (stem + depthwise + pointwise + head)


def test_macs_of_a_dynamic_file_are_those_of_one_row():
    static, dynamic = exporter.describe(exported("cnn")), exporter.describe(exported("cnn", dynamic=True))
    assert static.macs == 2 * dynamic.macs
    assert static.parameters == dynamic.parameters


def test_attention_counts_its_batch_matmuls():
    operators = exporter.describe(exported("encoder")).operators
    assert operators["BATCH_MATMUL"] == 4
    assert operators["EMBEDDING_LOOKUP"] == 1


def test_quantized_counts():
    before, after = exporter.describe(exported("cnn")), exporter.describe(quantized("cnn", "w8a8"))
    assert after.macs == before.macs
    assert after.parameters == before.parameters
    assert after.operators["QUANTIZE"] == after.operators["DEQUANTIZE"] == 1


def test_the_steps_of_rounded_outputs_are_told():
    path = quantized("cnn", "w8a8")
    ((name, step),) = exporter.output_steps(path).items()
    values = load(path).run({"x": sample("cnn", 2)})[name] / step
    assert np.allclose(values, np.rint(values), atol=1e-3)
    assert len(np.unique(np.rint(values))) > 2
    assert exporter.output_steps(exported("cnn")) == {}


def test_intermediates_are_the_layers_values_in_order():
    x = sample("mlp", 2)
    found = list(exporter.intermediates(exported("mlp"), {"x": x}))
    layers = module("mlp").layers
    expected = [reference(lambda t, n=n: (layers[:n](t),), x)[0] for n in (2, 4, 5)]
    assert len(found) == 3
    assert found[-1][0] == "y"
    for (_, values), wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-5)


def test_intermediates_of_integers_are_real_numbers():
    x = sample("mlp", 2)
    expected = [values for _, values in exporter.intermediates(exported("mlp"), {"x": x})]
    quantities = dict(exporter.intermediates(quantized("mlp", "w8a8"), {"x": x}))
    hidden = [v for v in quantities.values() if v.shape == (2, 64)]
    assert len(hidden) == 2
    assert all(v.dtype == np.float32 for v in quantities.values())
    assert np.abs(hidden[0] - expected[0]).max() < 0.05 * np.abs(expected[0]).max()


def test_intermediates_leave_out_dequantized_weights():
    shapes = [v.shape for _, v in exporter.intermediates(quantized("mlp", "w8"), {"x": sample("mlp", 2)})]
    assert shapes == [(2, 64), (2, 64), (2, 8)]


def test_intermediates_refuse_what_the_file_does_not_take():
    with pytest.raises(InvalidTensor, match="shape"):
        list(exporter.intermediates(exported("mlp"), {"x": sample("cnn", 2)}))


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64, b"\x1c\0\0\0TFL3", b"not a model at all" * 10])
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "net.tflite").write_bytes(content)
    with pytest.raises(InvalidArtifact, match=r"net\.tflite"):
        exporter.describe(tmp_path / "net.tflite")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="No such file"):
        exporter.describe(tmp_path / "net.tflite")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_files_are_described_or_refused(tmp_path_factory, data):
    content = bytearray(quantized("mlp", "w8a8", dynamic=True).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = tmp_path_factory.mktemp("mutants") / "net.tflite"
    path.write_bytes(content[:length])
    try:
        description = exporter.describe(path)
    except EdgedlError as error:
        assert isinstance(error, InvalidArtifact)
        assert "\n" not in str(error)
    else:
        assert isinstance(description, Description)


def test_overlapping_vectors_cannot_outgrow_the_file():
    """The subgraph count of a real file, raised: every entry would be read again and again."""
    content = bytearray(exported("mlp").read_bytes())
    one = (1).to_bytes(4, "little")
    refused = 0
    for offset in range(0, 400, 4):
        if content[offset : offset + 4] == one:
            mutant = bytes(content[:offset]) + (1 << 24).to_bytes(4, "little") + bytes(content[offset + 4 :])
            try:
                parse_checked(mutant, "net.tflite")
            except InvalidArtifact:
                refused += 1
    assert refused

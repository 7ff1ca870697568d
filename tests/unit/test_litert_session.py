"""LiteRT behind a Session: names, errors, resizing, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tflite_models import exported, load, module, quantized, reference, sample, worst

from edgedl.artifact import Artifact, Manifest
from edgedl.errors import EdgedlError, EngineFailed, InvalidArtifact, InvalidTensor, Unavailable, UnknownName
from edgedl.runtime import accept
from edgedl.spec import TensorSpec
from edgedl_litert import runtime
from edgedl_litert.engine import refusal
from edgedl_litert.session import _check
from edgedl_tflite import flatbuffer
from edgedl_tflite.check import read_checked


def _manifest(inputs, outputs):
    return Manifest("net", "tflite", "fp32", inputs, outputs, 0, "")


def test_engine_and_device():
    session = load(exported("mlp"))
    assert session.engine.startswith(("ai-edge-litert ", "tflite-runtime "))
    assert session.device == "cpu"


def test_kernels_can_be_chosen_and_agree():
    x, path = sample("cnn", 2), exported("cnn")
    sessions = [runtime.load(Artifact(path), "cpu", 1, {"kernels": kernels}) for kernels in ("xnnpack", "reference")]
    one, other = (session(x)[0] for session in sessions)
    assert np.allclose(one, other, atol=1e-5)
    with pytest.raises(UnknownName, match="unknown value of the option kernels 'fast': expected one of builtin"):
        runtime.load(Artifact(path), "cpu", 1, {"kernels": "fast"})


def test_another_device_is_unavailable():
    with pytest.raises(Unavailable, match="'cuda'"):
        runtime.load(Artifact(exported("mlp")), "cuda", None)


def test_axis_names_come_from_the_manifest():
    specs = (TensorSpec("x", ("batch", 16), "float32"),), (TensorSpec("y", ("batch", 8), "float32"),)
    session = runtime.load(Artifact(exported("mlp", dynamic=True), _manifest(*specs)), "cpu", 1)
    assert (session.inputs, session.outputs) == specs


def test_a_manifest_of_another_file_is_refused():
    specs = (TensorSpec("image", ("batch", 16), "float32"),), (TensorSpec("y", ("batch", 8), "float32"),)
    with pytest.raises(EngineFailed, match="manifest"):
        runtime.load(Artifact(exported("mlp", dynamic=True), _manifest(*specs)), "cpu", 1)


BAD = [
    {},
    {"y": np.zeros((2, 16), np.float32)},
    {"x": np.zeros((2, 16), np.float32), "more": np.zeros(1, np.float32)},
    {"x": np.zeros((2, 15), np.float32)},
    {"x": np.zeros(16, np.float32)},
    {"x": np.zeros((2, 16), np.float64)},
    {"x": np.zeros((2, 16), np.int32)},
    {"x": [[0.0] * 16] * 2},
    {"x": "text"},
    {"x": None},
    [np.zeros((2, 16), np.float32)],
]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("feeds", BAD, ids=str)
def test_wrong_feeds_are_refused_and_leave_the_session_working(feeds, dynamic):
    session = load(exported("mlp", dynamic))
    with pytest.raises(InvalidTensor) as caught:
        session.run(feeds)
    assert "\n" not in str(caught.value)
    x = sample("mlp", 2)
    assert worst(session.run({"x": x}), reference(module("mlp"), x)) <= 1e-5


def test_the_fast_path_takes_nothing_but_arrays_of_the_right_dtype():
    session = load(exported("encoder"))
    for wrong in ([[1] * 6] * 2, np.zeros((2, 6), np.int64), np.zeros((2, 6), np.float32), np.zeros((1, 6), np.int32)):
        with pytest.raises((ValueError, InvalidTensor)):
            session._invoke({"x": wrong})


def test_strided_arrays_and_subclasses_are_taken():
    session, x = load(exported("mlp")), sample("mlp", 2)
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(session.run({"x": strided})["y"], session.run({"x": x})["y"])
    np.testing.assert_array_equal(session.run({"x": x.view(np.memmap)})["y"], session.run({"x": x})["y"])


def test_outputs_are_copies():
    session = load(exported("mlp"))
    first = session.run({"x": sample("mlp", 2)})["y"]
    kept = first.copy()
    session.run({"x": sample("mlp", 2, seed=1)})
    np.testing.assert_array_equal(first, kept)


def test_a_length_of_zero_is_refused_and_the_session_goes_on():
    session = load(exported("mlp", dynamic=True))
    with pytest.raises(EdgedlError, match="shape"):
        session.run({"x": np.zeros((0, 16), np.float32)})
    assert session.run({"x": sample("mlp", 3)})["y"].shape == (3, 8)


def test_threads_share_a_session_without_mixing_their_outputs():
    session = load(exported("mlp", dynamic=True))
    inputs = [sample("mlp", rows, seed=rows) for rows in (1, 2, 3, 4)]
    expected = [reference(module("mlp"), x)[0] for x in inputs]

    def error(x, wanted):
        return max(worst(session.run({"x": x}), [wanted]) for _ in range(400))

    with ThreadPoolExecutor(len(inputs)) as pool:
        assert max(pool.map(error, inputs, expected)) <= 1e-5


def test_a_closed_session_says_so():
    with load(exported("mlp")) as session:
        pass
    with pytest.raises(EngineFailed, match="closed"):
        session._invoke({"x": sample("mlp", 2)})


def _integer_borders(path):
    """The static int8 MLP without its QUANTIZE and DEQUANTIZE operators: int8 in, int8 out."""
    model = read_checked(path)
    graph = model.subgraphs[0]
    first, last = graph.operators[0], graph.operators[-1]
    assert [flatbuffer.operator_name(model, o) for o in (first, last)] == ["QUANTIZE", "DEQUANTIZE"]
    graph.operators = graph.operators[1:-1]
    graph.inputs, graph.outputs = first.outputs, last.inputs
    model.signatureDefs = []
    return flatbuffer.serialize(model)


def test_quantized_borders_take_stored_or_real_numbers_and_give_real_ones(tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(_integer_borders(quantized("mlp", "w8a8")))
    session, x = load(path), sample("mlp", 2)
    spec = session.inputs[0]
    assert spec.dtype == "int8" and spec.quantization is not None
    real = session.run({spec.name: x})
    output = real[session.outputs[0].name]
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, load(quantized("mlp", "w8a8")).run({"x": x})["y"], atol=1e-6)
    stored = accept({spec.name: x}, session.inputs)
    assert stored[spec.name].dtype == np.int8
    np.testing.assert_array_equal(session.run(stored)[session.outputs[0].name], output)


def test_what_is_no_model_is_an_invalid_artifact(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(InvalidArtifact, match="TFL3"):
        load(path)
    with pytest.raises(InvalidArtifact, match="cannot read"):
        load(tmp_path / "missing.tflite")


def test_a_truncated_file_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "net.tflite"
    content = exported("mlp").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidArtifact) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["MyOperator", "FlexErf"])
def test_custom_operators_are_named(tmp_path, name):
    model = read_checked(exported("mlp"))
    entry = model.operatorCodes[0]
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.customCode = 32, 32, name
    path = tmp_path / "net.tflite"
    path.write_bytes(flatbuffer.serialize(model))
    with pytest.raises(EngineFailed, match=name) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_an_operator_newer_than_the_engine_is_named(tmp_path):
    model = read_checked(exported("mlp"))
    model.operatorCodes[0].version = 99
    path = tmp_path / "net.tflite"
    path.write_bytes(flatbuffer.serialize(model))
    with pytest.raises(EngineFailed, match="version 99 of FULLY_CONNECTED"):
        load(path)


SAID = {
    "/tensorflow/tensorflow/lite/kernels/elementwise.cc:105 Type INT16 is unsupported by op Rsqrt.Node number 41 (RSQRT) "
    "failed to prepare.": "it refuses node 41, RSQRT (Type INT16 is unsupported by op Rsqrt)",
    "external/kernels/dequantize.cc:61 a || \n b was not true.Node number 16 (DEQUANTIZE) failed to prepare.Failed to apply "
    "the default TensorFlow Lite delegate indexed at 0.": "it refuses node 16, DEQUANTIZE (a || b was not true)",
    "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'.": "it needs version 12 of FULLY_CONNECTED, which this",
}  # fmt: skip
"""what tflite-runtime 2.14 says of w8a16, w4 and w8a8-dynamic -> the sentence"""


@pytest.mark.parametrize("said", SAID)
def test_what_an_older_engine_lacks_is_one_sentence(said):
    told = refusal("tflite-runtime 2.14.0", Path("net.tflite"), said)
    assert told.startswith(f"tflite-runtime 2.14.0 cannot load net.tflite: {SAID[said]}")
    assert told.endswith("take a newer engine where this processor has one (ai-edge-litert), or choose another scheme")
    assert "\n" not in told


def test_axes_of_one_name_have_one_length():
    specs = [TensorSpec("a", ("batch", 2), "float32"), TensorSpec("b", ("batch",), "float32")]
    _check(specs, [(3, 2), (3,)])
    with pytest.raises(InvalidTensor, match="'batch'"):
        _check(specs, [(3, 2), (4,)])

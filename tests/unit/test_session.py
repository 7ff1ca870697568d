from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import edgedl
from edgedl import Session
from edgedl.errors import EngineFailed, InvalidInput, InvalidTensor, UnknownName
from edgedl.runtime import accept, as_source, dequantize, is_reference, quantize
from edgedl.spec import Feeds, Quantization, TensorSpec

X = TensorSpec("x", ("batch", 2), "float32")
N = TensorSpec("n", (3,), "int32")
Q = TensorSpec("q", (4,), "int8", Quantization(0.5, -3))


class Strict(Session):
    """An engine that takes exactly what its specs say, and echoes it."""

    def __init__(self, *inputs: TensorSpec, fails: str = "") -> None:
        super().__init__(inputs, inputs, "strict 1.0", "cpu")
        self.fails, self.closed = fails, False

    def _invoke(self, feeds: Feeds) -> dict[str, np.ndarray]:
        if self.fails:
            raise RuntimeError(self.fails)
        for spec in self.inputs:
            array = feeds[spec.name]
            assert array.dtype.name == spec.dtype
            assert spec.accepts(array.shape)
        assert len(feeds) == len(self.inputs)
        return dict(feeds)

    def close(self) -> None:
        self.closed = True


GOOD = np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, "expected the inputs x: float32[batch, 2], got none"),
        ({"y": GOOD}, "expected the inputs x: float32[batch, 2], got y"),
        ({"x": GOOD, "y": GOOD}, "got x, y"),
        ({"x": GOOD[0]}, "input 'x' has shape (2,), expected (batch, 2)"),
        ({"x": GOOD[:, :1]}, "input 'x' has shape (1, 1), expected (batch, 2)"),
        (
            {"x": GOOD.astype(float)},
            "input 'x' has dtype float64, expected float32: convert it with .astype('float32')",
        ),
        ({"x": GOOD.astype(np.int32)}, "dtype int32"),
        ([GOOD], "expected a dictionary of arrays by input name (x: float32[batch, 2]), got list"),
        (GOOD, "got ndarray"),
        ({"x": [["a", "b"]]}, "dtype <U1"),
    ],
)
def test_wrong_inputs_are_one_sentence(feeds: Any, said: str) -> None:
    with pytest.raises(InvalidTensor) as caught:
        Strict(X).run(feeds)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_right_inputs_pass_untouched() -> None:
    assert Strict(X).run({"x": GOOD})["x"] is GOOD


@pytest.mark.parametrize(("spec_dtype", "dtype"), [("int32", np.int64), ("int64", np.int32)])
def test_int64_and_int32_stand_in_for_each_other(spec_dtype: str, dtype: type) -> None:
    session = Strict(TensorSpec("n", (3,), spec_dtype))
    out = session.run({"n": np.array([1, -2, 2**31 - 1], dtype)})["n"]
    assert out.dtype.name == spec_dtype
    assert out.tolist() == [1, -2, 2**31 - 1]


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidTensor, match="its values do not fit"):
        Strict(N).run({"n": np.array([0, 0, 2**31])})


def test_rank_zero_inputs_keep_their_rank() -> None:
    session = Strict(TensorSpec("t", (), "float32"), TensorSpec("n", (), "int32"))
    out = session.run({"t": np.float32(3), "n": np.int64(2)})
    assert (out["t"].shape, out["n"].shape) == ((), ())


def test_real_numbers_are_quantized_for_an_int8_input() -> None:
    out = Strict(Q).run({"q": np.array([0.0, 0.76, -1000.0, 1000.0], np.float32)})["q"]
    assert out.tolist() == [-3, -1, -128, 127]
    assert out.dtype == np.int8


def test_stored_numbers_are_taken_as_they_are() -> None:
    stored = np.array([1, 2, 3, 4], np.int8)
    assert Strict(Q).run({"q": stored})["q"] is stored


def test_quantize_and_dequantize_are_inverse_to_half_a_step() -> None:
    real = np.linspace(-60, 60, 101, dtype=np.float32)
    assert Q.quantization
    again = dequantize(quantize(real, Q.quantization, np.dtype(np.int8)), Q.quantization)
    assert float(np.abs(again - real).max()) <= 0.25
    assert again.dtype == np.float32


def test_what_the_engine_says_is_passed_on_in_one_line() -> None:
    with pytest.raises(EngineFailed, match=r"^strict 1\.0 could not run the model: boom$"):
        Strict(X, fails="boom\nand a long story").run({"x": GOOD})


def test_positional_call() -> None:
    assert Strict(X, N)(GOOD, np.zeros(3, np.int32))[0] is GOOD
    with pytest.raises(InvalidTensor, match="expected 2 inputs"):
        Strict(X, N)(GOOD)


def test_context_manager_closes() -> None:
    with Strict(X) as session:
        assert isinstance(session, Strict)
    assert session.closed


def test_accept_gives_contiguous_arrays() -> None:
    assert accept({"x": np.zeros((2, 3), np.float32).T}, (X,))["x"].flags.c_contiguous


@pytest.mark.parametrize(
    ("text", "reference"),
    [("net.py:Net", True), ("zoo:digits", True), ("a.onnx", False), ("out/a.tflite", False), ("net.py", False)],
)
def test_is_reference(text: str, reference: bool) -> None:
    assert is_reference(text) is reference


def test_a_path_with_a_colon_is_a_path(tmp_path: Any) -> None:
    path = tmp_path / "a:b.onnx"
    path.write_bytes(b"x")
    assert not is_reference(str(path))
    assert isinstance(as_source(path), edgedl.Artifact)


def test_load_runs_in_the_engine_and_in_torch(digits_onnx: edgedl.Artifact, digits_weights: Any) -> None:
    inputs, expected = digits_onnx.golden()
    reference = edgedl.TaskReference("zoo:digits", str(digits_weights))
    for source, engine in (
        (digits_onnx.path, "onnxruntime"),
        (str(digits_onnx.path), "onnxruntime"),
        (reference, "torch"),
    ):
        with edgedl.load(source, threads=1) as session:
            assert session.engine.startswith(engine)
            assert [spec.name for spec in session.inputs] == ["image"]
            assert np.allclose(session.run(inputs)["logits"], expected["logits"], rtol=1e-4, atol=1e-5)


def test_load_refuses(digits_onnx: edgedl.Artifact) -> None:
    with pytest.raises(UnknownName, match="runtime 'orx'"):
        edgedl.load(digits_onnx, "orx")
    with pytest.raises(InvalidInput, match="'litert' does not load onnx models; these do: ort"):
        edgedl.load(digits_onnx, "litert")
    with pytest.raises(InvalidInput, match="threads=0"):
        edgedl.load(digits_onnx, threads=0)
    with pytest.raises(UnknownName, match="device 'gpu'"):
        edgedl.load(digits_onnx, device="gpu")


def test_engine_options_are_set_or_refused(digits_onnx: edgedl.Artifact) -> None:
    options = {"optimization": "none", "spinning": "1", "execution": "sequential", "arena": "0"}
    inputs, expected = digits_onnx.golden()
    with edgedl.load(digits_onnx, threads=1, options=options) as session:
        told = session._session.get_session_options()  # type: ignore[attr-defined]
        assert told.graph_optimization_level.name == "ORT_DISABLE_ALL"
        assert not told.enable_cpu_mem_arena
        assert told.get_session_config_entry("session.intra_op.allow_spinning") == "1"
        assert np.allclose(session.run(inputs)["logits"], expected["logits"], atol=1e-4)
    with pytest.raises(UnknownName, match=r"unknown option of ort 'optimisation': .*did you mean 'optimization'"):
        edgedl.load(digits_onnx, options={"optimisation": "all"})
    with pytest.raises(UnknownName, match="unknown value of the option arena 'yes': expected one of 0, 1"):
        edgedl.load(digits_onnx, options={"arena": "yes"})


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_run_from_several_threads(digits_onnx: edgedl.Artifact, batch: int) -> None:
    session = edgedl.load(digits_onnx, threads=1)
    images = np.random.default_rng(0).random((8, batch, 1, 8, 8), np.float32)
    alone = [session.run({"image": image})["logits"] for image in images]

    def all_the_same(image: np.ndarray, expected: np.ndarray) -> bool:
        return all(np.array_equal(session.run({"image": image})["logits"], expected) for _ in range(5))

    with ThreadPoolExecutor(len(images)) as pool:
        assert all(pool.map(all_the_same, images, alone))

"""ncnn as a runtime of ONNX files; what needs the engine runs where its wheels are installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgedl import Artifact, load
from edgedl.errors import EdgedlError, EngineFailed, InvalidArtifact, InvalidTensor, Unavailable, UnknownName
from edgedl.runtime import runtimes_for
from edgedl.spec import TensorSpec
from edgedl_pnnx.prepare import prepared
from edgedl_pnnx.specs import onnx_specs

ONE = np.array([1], np.float32)
SUM = Path(str(files("edgedl") / "models" / "sum.onnx"))


def written(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, list[Any]]], **stored: Any) -> Path:
    """A model of one float output `y`; inputs: name -> (dtype, shape)."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, *told) for name, told in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
    return path


def mean_over_time(path: Path, axis: int = 1, keepdims: int = 0) -> Path:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)
    return written(path, [node], {"x": (TensorProto.FLOAT, ["batch", 3, 4])}, axes=[axis])


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


def computed(path: Path, **feeds: np.ndarray) -> np.ndarray:
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(path))
    return np.asarray(evaluator.run(None, feeds)[0])


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_maximum_behind_the_channels_is_pooled_and_stays_the_same(
    tmp_path: Path, axes: list[int], keepdims: int
) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    node = helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=keepdims)
    source = written(tmp_path / "net.onnx", [node], {"x": (TensorProto.FLOAT, ["batch", 3, 4, 5])}, axes=axes)
    prepared(source, tmp_path / "out.onnx")
    assert operators(tmp_path / "out.onnx") == ["GlobalMaxPool"] + ["Flatten"] * (1 - keepdims)
    np.testing.assert_array_equal(computed(tmp_path / "out.onnx", x=x), computed(source, x=x))


def test_a_maximum_over_the_channels_is_left_as_it_is(tmp_path: Path) -> None:
    node = helper.make_node("ReduceMax", ["x", "axes"], ["y"])
    source = written(tmp_path / "net.onnx", [node], {"x": (TensorProto.FLOAT, ["batch", 3, 4])}, axes=[1])
    prepared(source, tmp_path / "out.onnx")
    assert operators(tmp_path / "out.onnx") == ["ReduceMax"]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [1, -2])
def test_a_mean_over_time_is_pooled_and_stays_the_same(tmp_path: Path, axis: int, keepdims: int) -> None:
    source, x = mean_over_time(tmp_path / "net.onnx", axis, keepdims), np.random.rand(2, 3, 4).astype(np.float32)
    prepared(source, tmp_path / "out.onnx")
    assert "GlobalAveragePool" in operators(tmp_path / "out.onnx")
    np.testing.assert_allclose(computed(tmp_path / "out.onnx", x=x), computed(source, x=x), rtol=1e-6)


def test_other_means_and_gathers_are_left_alone(tmp_path: Path) -> None:
    prepared(mean_over_time(tmp_path / "net.onnx", axis=2), tmp_path / "out.onnx")
    assert operators(tmp_path / "out.onnx") == ["ReduceMean"]
    columns = helper.make_node("Gather", ["table", "x"], ["y"], axis=1)
    source = written(
        tmp_path / "net.onnx", [columns], {"x": (TensorProto.INT64, [2])}, table=np.eye(3, dtype=np.float32)
    )
    prepared(source, tmp_path / "out.onnx")
    assert onnx.load(str(tmp_path / "out.onnx")).graph.node[0].attribute[0].i == 1


def test_an_embedding_loses_the_axis_that_is_the_default(tmp_path: Path) -> None:
    rows = helper.make_node("Gather", ["table", "x"], ["y"], axis=0)
    source = written(tmp_path / "net.onnx", [rows], {"x": (TensorProto.INT64, [2])}, table=np.eye(3, dtype=np.float32))
    prepared(source, tmp_path / "out.onnx")
    assert not onnx.load(str(tmp_path / "out.onnx")).graph.node[0].attribute
    x = np.array([2, 0])
    np.testing.assert_array_equal(computed(tmp_path / "out.onnx", x=x), computed(source, x=x))


class TestSpecs:
    def test_the_file_names_them(self) -> None:
        inputs, outputs = onnx_specs(SUM)
        assert [spec.name for spec in (*inputs, *outputs)] == ["a", "b", "sum"]

    def test_a_dtype_that_ncnn_lacks_is_named(self, tmp_path: Path) -> None:
        node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
        source = written(tmp_path / "net.onnx", [node], {"x": (TensorProto.BOOL, [2])})
        with pytest.raises(EngineFailed, match=r"takes inputs of float32, int32, int64: x: bool\[2\]"):
            onnx_specs(source)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, SUM.stat().st_size), st.binary(max_size=9))
    def test_a_damaged_file_is_no_crash(self, tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes) -> None:
        path = tmp_path_factory.mktemp("damaged") / "net.onnx"
        path.write_bytes(SUM.read_bytes()[:cut] + tail)
        try:
            inputs, outputs = onnx_specs(path)
        except (InvalidArtifact, EngineFailed) as error:
            assert "net.onnx" in str(error)
        else:
            assert {spec.dtype for spec in (*inputs, *outputs)} <= {"float32", "int32", "int64"}


class TestEngine:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("ncnn")
        pytest.importorskip("pnnx")

    def test_an_output_takes_the_shape_that_the_file_tells(self) -> None:
        from edgedl_ncnn.network import as_told

        spec = TensorSpec("y", ("batch", 1, 3), "float32")
        assert as_told(np.zeros((2, 3)), spec, {"batch": 2}).shape == (2, 1, 3)
        assert as_told(np.zeros((2, 1, 3)), spec, {}).shape == (2, 1, 3)
        with pytest.raises(
            EngineFailed, match="at batch=2; ncnn has few layers for dynamic axes: export it without --dyn"
        ):
            as_told(np.zeros((2, 4)), spec, {"batch": 2})
        for array, lengths in ((np.zeros((2, 4)), {"batch": 2}), (np.zeros((2, 3)), {})):
            with pytest.raises(EngineFailed, match=r"the file tells y: float32\[batch, 1, 3\]"):
                as_told(array, spec, lengths)

    def test_it_computes_and_says_in_which_precision(self) -> None:
        with load(SUM, "ncnn", threads=1) as session:
            assert session.run({"a": ONE, "b": 2 * ONE})["sum"].tolist() == [3.0]
            assert session.engine.startswith("ncnn 1.0.20") and session.engine.endswith(", f32")
        with load(SUM, "ncnn", threads=1, options={"precision": "bf16", "winograd": "0"}) as session:
            assert session.engine.endswith(", bf16, no winograd")
            assert session.run({"a": ONE, "b": 2 * ONE})["sum"].tolist() == [3.0]

    def test_auto_stays_with_the_engine_that_proves_the_format(self) -> None:
        assert runtimes_for(Artifact(SUM))[0] == "ort"
        assert "ncnn" in runtimes_for(Artifact(SUM))

    def test_every_batch_has_a_network_of_its_own(self, tmp_path: Path) -> None:
        session = load(mean_over_time(tmp_path / "net.onnx"), "ncnn", threads=1)
        for batch in (1, 3, 2, 5, 4, 6, 1):
            x = np.random.default_rng(batch).standard_normal((batch, 3, 4)).astype(np.float32)
            np.testing.assert_allclose(session.run({"x": x})["y"], x.mean(1), rtol=1e-5, atol=1e-6)
        assert len(session._networks) == 4  # type: ignore[attr-defined]

    def test_outputs_of_one_run_survive_the_next_and_the_session(self) -> None:
        session = load(SUM, "ncnn")
        first = session.run({"a": ONE, "b": ONE})["sum"]
        session.run({"a": 5 * ONE, "b": ONE})
        session.close()
        del session
        assert first.tolist() == [2.0]

    def test_threads_share_a_session(self) -> None:
        session = load(SUM, "ncnn", threads=1)

        def sums(number: int) -> set[float]:
            return {session.run({"a": number * ONE, "b": ONE})["sum"].item() for _ in range(50)}

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(sums, range(4))) == [{number + 1.0} for number in range(4)]

    @pytest.mark.parametrize(
        ("arguments", "error", "said"),
        [
            ({"device": "cuda"}, Unavailable, "ncnn runs on 'cpu'"),
            ({"options": {"precision": "int4"}}, UnknownName, "bf16"),
            ({"options": {"winograd": "2"}}, UnknownName, "expected one of 0, 1"),
            ({"options": {"speed": "1"}}, UnknownName, "precision"),
        ],
    )
    def test_wrong_calls(self, arguments: dict[str, Any], error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            load(SUM, "ncnn", **arguments)

    def test_fp16_is_no_float32_on_a_processor_that_lacks_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ncnn

        monkeypatch.setattr(ncnn, "cpu_support_arm_asimdhp", lambda: 0)
        with pytest.raises(Unavailable, match="precision=fp16 is not here"):
            load(SUM, "ncnn", options={"precision": "fp16"})

    def test_a_wrong_dtype_or_shape_is_refused(self) -> None:
        session = load(SUM, "ncnn")
        with pytest.raises(InvalidTensor, match="'a' has dtype float64, expected float32"):
            session.run({"a": ONE.astype(np.float64), "b": ONE})
        with pytest.raises(InvalidTensor, match="shape"):
            session.run({"a": np.ones(2, np.float32), "b": ONE})
        with pytest.raises(InvalidTensor, match="expected the inputs"):
            session.run({"a": ONE, "b": ONE, "c": ONE})

    def test_integers_of_more_than_32_bits_and_empty_tensors_are_refused(self, tmp_path: Path) -> None:
        rows = helper.make_node("Gather", ["table", "x"], ["y"], axis=0)
        table = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
        session = load(written(tmp_path / "net.onnx", [rows], {"x": (TensorProto.INT64, ["n"])}, table=table), "ncnn")
        np.testing.assert_array_equal(session.run({"x": np.array([8, 0, 3])})["y"], table[[8, 0, 3]])
        with pytest.raises(InvalidTensor, match="beyond 32 bits"):
            session.run({"x": np.array([2**40])})
        with pytest.raises(InvalidTensor, match="ncnn has no empty tensors"):
            session.run({"x": np.zeros(0, np.int64)})

    def test_an_operator_that_it_lacks_is_named_once(self, tmp_path: Path) -> None:
        node = helper.make_node("CumSum", ["x", "axis"], ["y"])
        source = written(tmp_path / "net.onnx", [node], {"x": (TensorProto.FLOAT, [2, 3])}, axis=np.array(1))
        session = load(source, "ncnn")
        for _ in range(2):
            with pytest.raises(EngineFailed, match=r"net.onnx is not for ncnn, which has no layer for CumSum"):
                session.run({"x": np.ones((2, 3), np.float32)})

    def test_an_operator_that_pnnx_does_not_read_is_one_sentence(self, tmp_path: Path) -> None:
        node = helper.make_node("Unheard", ["x"], ["y"], domain="com.example")
        source = written(tmp_path / "net.onnx", [node], {"x": (TensorProto.FLOAT, [2, 3])})
        with pytest.raises(EngineFailed, match=r"net.onnx is not for ncnn: pnnx cannot convert it") as caught:
            load(source, "ncnn").run({"x": np.ones((2, 3), np.float32)})
        assert "\n" not in str(caught.value)

    def test_pnnx_that_hangs_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from edgedl_pnnx import conversion

        monkeypatch.setattr(conversion, "SECONDS", 0.001)
        with pytest.raises(EngineFailed, match=r"pnnx did not convert it within 0.001 s"):
            load(SUM, "ncnn").run({"a": ONE, "b": ONE})

    def test_what_pnnx_converts_into_something_else_is_not_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Held against ONNX Runtime: a conversion of another graph has the right shapes and the wrong numbers."""
        from edgedl_pnnx import conversion

        double = helper.make_node("Add", ["x", "x"], ["y"])
        other = written(tmp_path / "other.onnx", [double], {"x": (TensorProto.FLOAT, [2, 3])})
        square = helper.make_node("Mul", ["x", "x"], ["y"])
        source = written(tmp_path / "net.onnx", [square], {"x": (TensorProto.FLOAT, [2, 3])})
        monkeypatch.setattr(conversion, "prepared", lambda source, target: prepared(other, target))
        with pytest.raises(EngineFailed, match=r"computes something else of it \(output 'y': relative RMS error"):
            load(source, "ncnn").run({"x": np.ones((2, 3), np.float32)})

    def test_golden_vectors_are_run_when_the_file_is_loaded(
        self, digits_onnx: Artifact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with load(digits_onnx, "ncnn", threads=1) as session:
            inputs, expected = digits_onnx.golden()
            np.testing.assert_allclose(session.run(inputs)["logits"], expected["logits"], rtol=1e-3, atol=1e-4)
        golden = ({name: array * 0.9 for name, array in inputs.items()}, expected)
        monkeypatch.setattr(Artifact, "golden", lambda self: golden)
        with pytest.raises(EngineFailed, match="computes something else of it"):
            load(digits_onnx, "ncnn")

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "net.onnx").write_bytes(SUM.read_bytes()[: SUM.stat().st_size // 2])
        with pytest.raises(EdgedlError, match=r"net\.onnx"):
            load(tmp_path / "net.onnx", "ncnn")

    def test_no_file_is_left_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import tempfile

        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        load(SUM, "ncnn").run({"a": ONE, "b": ONE})
        assert list(tmp_path.iterdir()) == []

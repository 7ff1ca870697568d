"""OpenVINO as a runtime; the tests of the engine itself run where its wheel is installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import Artifact, load
from edgedl.errors import EngineFailed, InvalidArtifact, InvalidInput, InvalidTensor, Unavailable, UnknownName
from edgedl.runtime import runtimes_for
from edgedl.spec import TensorSpec
from edgedl_openvino import names

ONE = np.array([1], np.float32)


def _sum(format: str) -> Artifact:
    return Artifact(Path(str(files("edgedl") / "models" / f"sum.{format}")))


def _echo(path: Path) -> Path:
    """A file that negates x of [rows, columns], both of any length."""
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "columns"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "echo", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@dataclass
class Dimension:
    length: int

    @property
    def is_dynamic(self) -> bool:
        return self.length < 0

    def get_length(self) -> int:
        return self.length


class Port:
    """An input or output of a compiled model, as far as names are concerned."""

    def __init__(self, name: str, *shape: int, dtype: str = "float32") -> None:
        self.any_name, self.names = name, {name}
        self.partial_shape = [Dimension(length) for length in shape]
        self.element_type: Any = type("Type", (), {"to_dtype": staticmethod(lambda: np.dtype(dtype))})


def test_without_a_manifest_the_engine_names_them() -> None:
    assert names.specs([Port("x", -1, 3)], None) == (TensorSpec("x", ("dynamic", 3), "float32"),)


def test_the_manifest_names_what_the_engine_orders() -> None:
    told = (TensorSpec("b", ("batch", 2), "float32"), TensorSpec("a", ("batch", 2), "float32"))
    assert [spec.name for spec in names.specs([Port("a", -1, 2), Port("b", -1, 2)], told)] == ["a", "b"]


def test_other_names_are_told_apart_by_shape_and_dtype_or_not_at_all() -> None:
    told = (TensorSpec("image", (1, 3), "float32"), TensorSpec("mask", (1, 3), "bool"))
    found = names.specs([Port("args_1", 1, 3, dtype="bool"), Port("args_0", 1, 3)], told)
    assert [spec.name for spec in found] == ["mask", "image"]
    alike = (TensorSpec("left", (1, 3), "float32"), TensorSpec("right", (1, 3), "float32"))
    with pytest.raises(EngineFailed, match="args_0, args_1, the manifest left, right: they cannot be told apart"):
        names.specs([Port("args_0", 1, 3), Port("args_1", 1, 3)], alike)
    with pytest.raises(EngineFailed, match="cannot be told apart"):
        names.specs([Port("args_0", 1, 3)], told)
    with pytest.raises(InvalidTensor, match="x is a complex64"):
        names.specs([Port("x", 1, dtype="complex64")], None)


def test_auto_takes_the_engine_that_proves_the_format() -> None:
    """The names of engines sort otherwise."""
    assert runtimes_for(_sum("onnx"))[0] == "ort"
    assert runtimes_for(_sum("tflite"))[0] == "litert"


class TestEngine:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("openvino")

    @pytest.mark.parametrize("format", ["onnx", "tflite"])
    def test_it_computes(self, format: str) -> None:
        with load(_sum(format), "openvino", threads=1) as session:
            assert session.run({"a": ONE, "b": 2 * ONE})["sum"].tolist() == [3.0]
            assert session.engine.startswith("openvino 20")

    def test_float_is_float_where_it_is_asked_for(self) -> None:
        """Its default is bf16 on some processors; the precision that ran is in the engine's name."""
        session = load(_sum("onnx"), "openvino", threads=1, options={"precision": "f32"})
        assert session.engine.endswith(", f32")
        third = np.array([1 / 3], np.float32)
        assert session.run({"a": third, "b": third})["sum"][0] == third[0] + third[0]

    def test_a_precision_that_the_processor_lacks_is_no_float32(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from edgedl_openvino import session

        with pytest.raises(Unavailable, match="precision=bf16 is not here: this processor computes in f32"):
            session._check_capability("bf16", ["FP32", "INT8"])

    def test_a_wrong_dtype_or_shape_is_refused(self) -> None:
        """The engine would convert it without a word."""
        session = load(_sum("onnx"), "openvino")
        with pytest.raises(InvalidTensor, match="'a' has dtype float64, expected float32"):
            session.run({"a": ONE.astype(np.float64), "b": ONE})
        with pytest.raises(InvalidTensor, match="shape"):
            session.run({"a": np.ones(2, np.float32), "b": ONE})
        with pytest.raises(InvalidTensor, match="expected the inputs"):
            session.run({"a": ONE, "b": ONE, "c": ONE})

    def test_outputs_of_one_run_survive_the_next(self) -> None:
        session = load(_sum("onnx"), "openvino")
        first = session.run({"a": ONE, "b": ONE})["sum"]
        session.run({"a": 5 * ONE, "b": ONE})
        assert first.tolist() == [2.0]

    @pytest.mark.parametrize("columns", [4, 5000], ids=["copied", "shared"])
    def test_inputs_of_every_layout_and_length(self, tmp_path: Path, columns: int) -> None:
        """Small inputs are copied into bound memory, large ones are read where they lie; shapes change from run to run."""
        session = load(_echo(tmp_path / "echo.onnx"), "openvino", threads=1, options={"precision": "f32"})
        rows = np.arange(6 * columns, dtype=np.float32).reshape(6, columns)
        read_only = rows.copy()
        read_only.setflags(write=False)
        for array in (rows[:2], rows[:3], rows[::2], read_only, rows[:, ::-1], rows[:3]):
            assert np.array_equal(session.run({"x": array})["y"], -array)

    def test_a_shared_input_is_read_anew(self, tmp_path: Path) -> None:
        session = load(_echo(tmp_path / "echo.onnx"), "openvino", threads=1, options={"precision": "f32"})
        array = np.ones((1, 5000), np.float32)
        first = session.run({"x": array})["y"]
        array *= 2
        assert (first == -1).all() and (session.run({"x": array})["y"] == -2).all()

    def test_threads_share_a_session(self) -> None:
        session = load(_sum("onnx"), "openvino", threads=1)

        def sums(number: int) -> set[float]:
            return {session.run({"a": number * ONE, "b": ONE})["sum"].item() for _ in range(50)}

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(sums, range(4))) == [{number + 1.0} for number in range(4)]

    @pytest.mark.parametrize(
        ("arguments", "error", "said"),
        [
            ({"device": "cuda"}, Unavailable, "OpenVINO runs on 'cpu'"),
            ({"options": {"precision": "f8"}}, UnknownName, "f32"),
            ({"options": {"speed": "1"}}, UnknownName, "precision"),
        ],
    )
    def test_wrong_calls(self, arguments: dict[str, Any], error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            load(_sum("onnx"), "openvino", **arguments)

    @pytest.mark.parametrize("format", ["onnx", "tflite"])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, format: str) -> None:
        whole = _sum(format).path.read_bytes()
        (tmp_path / f"net.{format}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises((InvalidArtifact, InvalidInput, EngineFailed), match=f"net.{format}"):
            load(tmp_path / f"net.{format}", "openvino")

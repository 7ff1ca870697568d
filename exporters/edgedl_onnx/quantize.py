"""ONNX quantization: onnxruntime's quantizer where it is good, a weight rewriting of our own where it has none.

Figures behind the choices: docs/decisions/0003-onnx-quantization.md.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_dynamic as ort_dynamic
from onnxruntime.quantization import quantize_static as ort_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgedl.errors import InvalidInput
from edgedl.exporter import Calibration
from edgedl.schemes import Scheme
from edgedl.spec import Array, Feeds
from edgedl_onnx import gru
from edgedl_onnx.describe import macs_by_operator
from edgedl_onnx.graph import read, to_array, weights

STEP_PAYS_FROM, SEQUENCE_PAYS_FROM = 192, 128
"""Hidden size from which an LSTM is faster in int8, for one step and for a sequence. One thread, AVX512-VNNI: one step of 64
0.78x, 128 0.89x, 256 3.3x; 50 steps of 32 0.51x, 64 0.69x, 96 0.75x; two bidirectional layers of 128 1.6x."""
SMALLEST = 64
"""Weights of fewer elements stay in float: their scales would cost what the narrower type saves."""


def quantize(source: Path, scheme: Scheme, calibration: Calibration | None, path: Path) -> None:
    """Write `source` under `scheme` to `path`, one self-contained file with the same inputs and outputs."""
    _BY_SCHEME[scheme.name](source, calibration, path)


def objection(source: Path, scheme: Scheme) -> str | None:
    model = read(source)
    if not any(True for _ in weights(model)):
        return f"{source.name} has no float weights to quantize"
    costs = macs_by_operator(model) or {}
    work = sum(costs.values())
    for operators, why in _OBJECTIONS.get(scheme.name, {}).items():
        share = sum(costs.get(name, 0) for name in operators) / max(work, 1)
        if share > 0.5 and not any(gru.pays(node) for node in model.graph.node if scheme.name == "w8a8-dynamic"):
            return f"{' and '.join(operators)} do {share:.0%} of the work of {source.name}, and {why}"
    mostly_lstm = 2 * costs.get("LSTM", 0) > work
    if scheme.name == "w8a8-dynamic" and mostly_lstm and (small := _small_lstm(model)):
        return f"int8 is slower than float in LSTMs of {small} hidden units; use --scheme w8"
    return None


def _small_lstm(model: onnx.ModelProto) -> int:
    """The largest hidden size of the LSTMs, where all of them are too small for int8; else 0."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    dims = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.value_info)}
    sizes = {}
    for node in (node for node in graph.node if node.op_type == "LSTM"):
        one_step = node.input[0] in dims and dims[node.input[0]][0].dim_value == 1
        sizes[gru.hidden_size(node)] = STEP_PAYS_FROM if one_step else SEQUENCE_PAYS_FROM
    return 0 if any(hidden >= pays_from for hidden, pays_from in sizes.items()) else max(sizes, default=0)


_OBJECTIONS: dict[str, dict[tuple[str, ...], str]] = {
    "w8a8-dynamic": {
        ("Conv", "ConvTranspose"): "ONNX Runtime runs them slower than float under w8a8-dynamic; use --scheme w8a8",
        (
            "GRU",
            "RNN",
        ): f"int8 pays for a GRU from a hidden size of {gru.PAYS_FROM} and never for an RNN; use --scheme w8",
    },
    "w8a8": {
        ("LSTM",): "static quantization leaves it in float; use --scheme w8a8-dynamic",
        ("GRU", "RNN"): "static quantization leaves them in float; use --scheme w8",
    },
}
"""scheme -> operators that should not do most of the work, and why"""


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration feeds one by one, as onnxruntime asks for them."""

    def __init__(self, feeds: Iterator[Feeds]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        feed = next(self._feeds, None)
        return dict(feed) if feed is not None else None


def _static(source: Path, calibration: Calibration | None, path: Path) -> None:
    """QDQ with U8 activations and per-channel S8 weights, min-max ranges: the fast static form on x86 and on ARM."""
    if calibration is None:
        raise InvalidInput("w8a8 needs calibration inputs: give --calibration inputs.npz, or a task that has them")
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        ort_static(
            str(_prepared(source, Path(folder))), str(path), _Reader(iter(calibration())),
            quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=_static_operators(source),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )  # fmt: skip


def _static_operators(source: Path) -> list[str] | None:
    """All that the quantizer knows in a CNN or MLP; beside attention only what has weights, embeddings too.

    Static ranges on the softmax, the normalisation and the residual sums are what destroys transformers.
    """
    operators = {node.op_type for node in read(source).graph.node}
    return ["MatMul", "Gemm", "Conv", "Gather"] if operators & {"Softmax", "LayerNormalization", "Attention"} else None


def _dynamic(source: Path, _: Calibration | None, path: Path) -> None:
    """Integer MatMul, Gemm, LSTM and large GRU with ranges taken at run time; convolutions stay in float, where they are faster."""
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        ort_dynamic(
            str(_prepared(source, Path(folder))), str(path), per_channel=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"], extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    onnx.save(gru.quantize_all(read(path)), str(path))


def _prepared(source: Path, folder: Path) -> Path:
    """The source after onnxruntime's own graph optimisation; as it is where that stops (it does on some transformers)."""
    prepared = folder / "prepared.onnx"
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    except Exception as error:
        logging.getLogger(__name__).info("quantizing without graph optimisation: %s", error)
        return source
    return prepared


Narrowed = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]
"""(what is stored, the nodes that widen it)"""


def _weights_only(narrow: Callable[[Array, str, int], Narrowed]) -> Callable[[Path, Calibration | None, Path], None]:
    """Every weight stored by `narrow` and widened to float when the model is loaded."""

    def rewrite(source: Path, _: Calibration | None, path: Path) -> None:
        model = read(source)
        large = {tensor.name: (node, tensor) for node, tensor in weights(model) if np.prod(tensor.dims) >= SMALLEST}
        for name, (node, tensor) in large.items():
            initializers, nodes = narrow(to_array(tensor), name, _channel_axis(node) % len(tensor.dims))
            model.graph.initializer.remove(tensor)
            model.graph.initializer.extend(initializers)
            for place, widening in enumerate(nodes):
                model.graph.node.insert(place, widening)
        onnx.save(model, str(path))

    return rewrite


def _channel_axis(node: onnx.NodeProto) -> int:
    """The axis of the output channels in the operator's weight layout; https://onnx.ai/onnx/operators/."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gather": 0}.get(node.op_type, 1)


def _int8(weight: Array, name: str, axis: int) -> Narrowed:
    """Symmetric per-channel: scale = max|w| / 127 along the channel, w = scale * int8.

    Cast and Mul, and not DequantizeLinear: the engine folds those when it loads the model, and this one it runs each time.
    """
    others = tuple(n for n in range(weight.ndim) if n != axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
    stored = np.rint(weight / scale).astype(np.int8)
    initializers = [
        numpy_helper.from_array(stored, f"{name}_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
    ]
    nodes = [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name]),
    ]
    return initializers, nodes


def _float16(weight: Array, name: str, _: int) -> Narrowed:
    """Half precision in the file, a Cast to float before the operator: half-precision kernels are slower on CPUs."""
    stored = np.clip(weight, np.finfo(np.float16).min, np.finfo(np.float16).max).astype(np.float16)
    cast = helper.make_node("Cast", [f"{name}_fp16"], [name], to=onnx.TensorProto.FLOAT)
    return [numpy_helper.from_array(stored, f"{name}_fp16")], [cast]


class _quiet:  # noqa: N801
    """onnxruntime's quantizer logs advice on the root logger."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._level)


_BY_SCHEME: dict[str, Callable[[Path, Calibration | None, Path], None]] = {
    "w8a8": _static,
    "w8a8-dynamic": _dynamic,
    "w8": _weights_only(_int8),
    "fp16": _weights_only(_float16),
}

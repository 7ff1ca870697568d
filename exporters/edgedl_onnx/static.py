"""Integers throughout, with activation ranges from calibration, by onnxruntime's quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgedl.errors import InvalidInput
from edgedl.exporter import Calibration, QuantizationOptions
from edgedl.spec import Array, Feeds
from edgedl_onnx.graph import read
from edgedl_onnx.layers import nodes_called
from edgedl_onnx.prepare import prepared, quiet


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration feeds one by one, as onnxruntime asks for them."""

    def __init__(self, feeds: Iterator[Feeds]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        feed = next(self._feeds, None)
        return dict(feed) if feed is not None else None


def quantize(source: Path, calibration: Calibration | None, path: Path, options: QuantizationOptions) -> None:
    """QDQ with U8 activations and per-channel S8 weights, min-max ranges: the fast static form on x86 and on ARM."""
    if calibration is None:
        raise InvalidInput("w8a8 needs calibration inputs: give --calibration inputs.npz, or a task that has them")
    with quiet(), tempfile.TemporaryDirectory() as folder:
        ready = prepared(source, Path(folder))
        quantize_static(
            str(ready), str(path), _Reader(iter(calibration())),
            quant_format=QuantFormat.QDQ, per_channel=options.per_channel, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=_static_operators(source), nodes_to_exclude=nodes_called(read(ready), options.keep_float),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )  # fmt: skip


def _static_operators(source: Path) -> list[str] | None:
    """All that the quantizer knows in a CNN or MLP; beside attention only what has weights, embeddings too.

    Static ranges on the softmax, the normalisation and the residual sums are what destroys transformers.
    """
    operators = {node.op_type for node in read(source).graph.node}
    return ["MatMul", "Gemm", "Conv", "Gather"] if operators & {"Softmax", "LayerNormalization", "Attention"} else None

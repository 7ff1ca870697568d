"""Integers throughout, with activation ranges from calibration: onnxruntime's QDQ quantizer under ranges of our own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.execution_providers.qnn.mixed_precision_overrides_utils import (
    MixedPrecisionTensorQuantOverridesFixer,
)
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.tensor_quant_overrides import TensorQuantOverridesHelper

from edgedl.calibrators import ranges
from edgedl.exporter import Calibration, FloatRegion, QuantizationOptions
from edgedl_onnx import bias, lossy
from edgedl_onnx.equalize import equalize
from edgedl_onnx.graph import read
from edgedl_onnx.layers import island, layer_name
from edgedl_onnx.linear import linears
from edgedl_onnx.lossy import kept_nodes
from edgedl_onnx.observe import Observer, required
from edgedl_onnx.prepare import prepared, quiet
from edgedl_onnx.smooth import smooth

_PRODUCTS = ["MatMul", "Gemm"]
_WEIGHTED = (*_PRODUCTS, "Conv", "Gather")


def int8(
    source: Path, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> tuple[FloatRegion, ...]:
    """U8 activations and S8 weights: the fast static form on x86 and on ARM."""
    return _quantize(source, required("w8a8", calibration), path, options, QuantType.QUInt8)


def int16(
    source: Path, calibration: Calibration | None, path: Path, options: QuantizationOptions
) -> tuple[FloatRegion, ...]:
    """U16 activations and S8 weights."""
    return _quantize(source, required("w8a16", calibration), path, options, QuantType.QUInt16)


def operators(source: Path) -> set[str]:
    """The types of operators in the file, and those that onnxruntime makes of them before they are quantized."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        models = read(source), read(prepared(source, Path(folder)))
    return {node.op_type for model in models for node in model.graph.node}


def _quantize(
    source: Path, calibration: Calibration, path: Path, options: QuantizationOptions, activations: QuantType
) -> tuple[FloatRegion, ...]:
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model = read(prepared(source, Path(folder)))
        _transform(model, options, calibration)
        operators = list(_WEIGHTED) if _attends(model) else sorted({*QLinearOpsRegistry, *QDQRegistry})
        levels = 65535 if activations == QuantType.QUInt16 else 255
        regions = lossy.float_regions(model, operators, calibration, levels, rounds_all=not _attends(model))
        found = ranges(lambda: Observer(model, _tensors(model, operators)).values(calibration), options.calibrator)
        extra = {
            "ActivationSymmetric": False,
            "WeightSymmetric": True,
            "TensorQuantOverrides": _overrides(model, options),
            "UseQDQContribOps": bool(options.wide)
            or activations == QuantType.QUInt16,  # ONNX has 16 bits from opset 21
            "OpTypesToExcludeOutputQuantization": _PRODUCTS if _attends(model) else [],
        }
        tool = QDQQuantizer(
            model, options.per_channel, False, QuantType.QInt8, activations, _tensors_data(found), [],
            [*island(model, options.keep_float), *_attention(model, options), *kept_nodes(model, regions)],
            operators, extra,
        )  # fmt: skip
        tool.quantize_model()
        tool.model.topological_sort()
    onnx.save(tool.model.model, str(path))
    return regions


def _transform(model: onnx.ModelProto, options: QuantizationOptions, calibration: Calibration) -> None:
    """The float model, computing the same (but for corrected biases), in a form that loses less by rounding; edits `model`."""
    if options.equalize:
        equalize(model)
    if options.smooth is not None:
        smooth(model, options.smooth, calibration)
    if options.bias_correction:
        bias.correct(model, options, calibration)


def _attends(model: onnx.ModelProto) -> bool:
    """Whether the model is a transformer, of which only what has weights is quantized, embeddings too.

    Static ranges on the softmax, the normalisation and the residual sums are what destroys transformers. These read the
    products in float, so that rounding the products' results would cost time and digits and save nothing.
    """
    return bool({node.op_type for node in model.graph.node} & {"Softmax", "LayerNormalization", "Attention"})


def _attention(model: onnx.ModelProto, options: QuantizationOptions) -> list[str]:
    """The products of a transformer whose factors are both computed, but for those that are to be wide.

    Rounding query, key, value and the softmax costs more time than their integer products save.
    """
    if not _attends(model):
        return []
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if constants.issuperset(filter(None, node.input)):
            constants.update(node.output)
    products = (
        node for node in model.graph.node if node.op_type == "MatMul" and not constants.intersection(node.input)
    )
    return [node.name for node in products if layer_name(node) not in options.wide]


def _tensors(model: onnx.ModelProto, operators: list[str]) -> list[str]:
    """What the operators read and write."""
    nodes = [node for node in model.graph.node if node.op_type in operators]
    return list(dict.fromkeys(name for node in nodes for name in (*node.input, *node.output) if name))


def _tensors_data(found: dict[str, tuple[float, float]]) -> TensorsData:
    as_arrays = {name: (np.float32(low), np.float32(high)) for name, (low, high) in found.items()}
    return TensorsData(
        CalibrationMethod.MinMax, {n: (np.array(low), np.array(high)) for n, (low, high) in as_arrays.items()}
    )


def _overrides(model: onnx.ModelProto, options: QuantizationOptions) -> dict[str, list[dict[str, Any]]]:
    """7-bit weights of the narrow layers, 16-bit inputs and outputs of the wide ones."""
    overrides: dict[str, list[dict[str, Any]]] = {}
    for linear in linears(model):
        if linear.name in options.narrow:
            axis = {"axis": linear.output_axis} if options.per_channel else {}
            overrides[linear.weight.name] = [
                {**axis, "quant_type": QuantType.QInt8, "reduce_range": True, "symmetric": True}
            ]
    constants = {tensor.name for tensor in model.graph.initializer}
    wide = set(island(model, options.wide))
    for node in (node for node in model.graph.node if node.name in wide):
        activations = [name for name in (*node.input, *node.output) if name and name not in constants]
        overrides.update({name: [{"quant_type": QuantType.QUInt16}] for name in activations})
    if wide:
        fixer = MixedPrecisionTensorQuantOverridesFixer.create_from_model(
            TensorQuantOverridesHelper(overrides), model, QuantType.QUInt8
        )
        fixer.apply(QuantType.QUInt8, default_activation_symmetric=False)
    return overrides

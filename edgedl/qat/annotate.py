"""Which tensors of a traced graph are int8: what the integer kernels of ONNX Runtime and LiteRT read and write."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torchao.quantization.pt2e import (
    FakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

WEIGHTED = ("aten.conv2d.default", "aten.conv1d.default", "aten.linear.default")
_COMBINING = (
    "aten.add.Tensor", "aten.add_.Tensor", "aten.mul.Tensor", "aten.mul_.Tensor", "aten.matmul.default", "aten.cat.default",
)  # fmt: skip
_MOVING = (
    "aten.max_pool2d.default", "aten.flatten.using_ints", "aten.view.default", "aten.reshape.default",
    "aten.permute.default", "aten.transpose.int",
)  # fmt: skip
"""Operators whose output has the values of their input: one scale for both."""
_AVERAGING = ("aten.mean.dim", "aten.adaptive_avg_pool2d.default", "aten.avg_pool2d.default")
_NORM = ("aten.batch_norm.default",)
_CLAMP = ("aten.relu.default", "aten.relu_.default", "aten.relu6.default", "aten.relu6_.default",
          "aten.hardtanh.default", "aten.hardtanh_.default")  # fmt: skip

SMALLEST_SCALE = 2.0**-12
"""Below it the engines' requantization multipliers lose their precision (XNNPACK's limit)."""

ACTIVATION = QuantizationSpec(
    dtype=torch.int8, quant_min=-128, quant_max=127, qscheme=torch.per_tensor_affine,
    observer_or_fake_quant_ctr=FusedMovingAvgObsFakeQuantize.with_args(
        observer=MovingAverageMinMaxObserver, eps=SMALLEST_SCALE
    ),
)  # fmt: skip
WEIGHT = QuantizationSpec(
    dtype=torch.int8, quant_min=-127, quant_max=127, qscheme=torch.per_channel_symmetric, ch_axis=0,
    observer_or_fake_quant_ctr=FakeQuantize.with_args(
        observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=SMALLEST_SCALE
    ),
)  # fmt: skip
"""No average over time: the scale is that of the weights as they are, which is what the file will hold.

Not the fused kernel: its symmetric scale is max / 127.5, while the conversion writes max / 127, and the file would differ from
what was trained by two steps and more."""


def _fixed(scale: float, zero_point: int) -> FixedQParamsQuantizationSpec:
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=scale,
        zero_point=zero_point,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


BOUNDED = {
    "aten.sigmoid.default": _fixed(1 / 256, -128), "aten.sigmoid_.default": _fixed(1 / 256, -128),
    "aten.softmax.int": _fixed(1 / 256, -128), "aten._softmax.default": _fixed(1 / 256, -128),
    "aten.tanh.default": _fixed(1 / 128, 0), "aten.tanh_.default": _fixed(1 / 128, 0),
}  # fmt: skip
"""Operators that write between fixed bounds: LiteRT's integer kernels take these scales and no others.

https://ai.google.dev/edge/litert/models/quantization_spec, LOGISTIC, SOFTMAX and TANH.
"""


class Int8Quantizer(Quantizer):  # type: ignore[misc]
    """int8 activations with one scale each, int8 weights with a scale for each output channel; all else stays float."""

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        for node in model.graph.nodes:
            if node.op == "call_function" and Q_ANNOTATION_KEY not in node.meta:
                _annotate(node)
        return model

    def validate(self, model: torch.fx.GraphModule) -> None:
        """Nothing that was annotated can be wrong for this quantizer."""


def _annotate(node: torch.fx.Node) -> None:
    kind = str(node.target)
    if kind in WEIGHTED:
        _mark(node, {**_activations(node.args[0]), node.args[1]: WEIGHT}, ACTIVATION)
    elif kind in _COMBINING and (tensors := list(_float_inputs(node))):
        _mark(node, _activations(*tensors), ACTIVATION)
    elif kind in _AVERAGING:
        _mark(node, _activations(node.args[0]), ACTIVATION)
    elif kind in _MOVING and _is_quantized(node.args[0]):
        _mark(node, _activations(node.args[0]), SharedQuantizationSpec((node.args[0], node)))


def _activations(*tensors: object) -> dict[object, object]:
    """How each is rounded on its way in."""
    return {tensor: BOUNDED.get(str(getattr(tensor, "target", "")), ACTIVATION) for tensor in tensors}


def _mark(node: torch.fx.Node, inputs: dict[object, object], output: object) -> None:
    """The output's rounding comes after the normalisation and the clamp that the engines fuse into the operator."""
    last = node
    for kinds in (_NORM, _CLAMP):
        users = list(last.users)
        if len(users) == 1 and str(users[0].target) in kinds:
            last = users[0]
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(inputs, output if last is node else None, _annotated=True)
    if last is not node:
        last.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation({}, output, _annotated=True)


def _float_inputs(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The tensors that the node combines; none where one of them is a number or is not of floats."""
    tensors = node.args[0] if isinstance(node.args[0], (list, tuple)) else node.args[:2]
    if all(isinstance(t, torch.fx.Node) and _is_float(t) for t in tensors):
        yield from dict.fromkeys(tensors)


def _is_float(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _is_quantized(node: object) -> bool:
    annotation = node.meta.get(Q_ANNOTATION_KEY) if isinstance(node, torch.fx.Node) else None
    return annotation is not None and annotation.output_qspec is not None

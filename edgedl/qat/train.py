"""Fine-tuning of a task's module with simulated int8, through the task's own `fit`."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torchao.quantization.pt2e import (
    disable_observer,
    move_exported_model_to_eval,
    move_exported_model_to_train,
)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

from edgedl.errors import InvalidInput, InvalidReference, Unsupported
from edgedl.exporter import Program
from edgedl.program import axes_of, program_of, tracing_lengths
from edgedl.qat.annotate import ACTIVATION, WEIGHTED, Int8Quantizer
from edgedl.qat.biases import round_biases
from edgedl.silence import silent
from edgedl.spec import Axis, DynamicAxes, plain, resize
from edgedl.task import Progress, Task
from edgedl.tracing import dynamic_shapes, export, why_untraceable
from edgedl.training import call_fit

SETTLED_FROM = 0.8
"""The share of the training after which the ranges of activations stay as they are."""


@dataclass(frozen=True)
class Trained:
    """fake: the fine-tuned program that rounds as int8 does. integers: the same with explicit quantize and dequantize operators."""

    fake: Program
    integers: Program


class Traced(torch.nn.Module):
    """A traced graph that can be trained and evaluated like the module it was traced from."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__()
        self.graph_module = graph

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.graph_module(*inputs)

    def train(self, mode: bool = True) -> Traced:
        self.training = mode
        (move_exported_model_to_train if mode else move_exported_model_to_eval)(self.graph_module)
        return self


def fine_tune(task: Task, seed: int, progress: Progress) -> Trained:
    """Train a copy of the task's module with int8 rounding in its forward pass.

    InvalidInput if the task has no `fit`; Unsupported if the module cannot be traced in training or has no layer to train for int8.
    """
    if task.fit is None:
        raise InvalidInput(f"{task.name} cannot be fine-tuned: its Task has no fit; leave out --qat")
    module = Traced(_prepared(task))
    torch.manual_seed(seed)
    try:
        trained = call_fit(task, module, seed, _settling(module, progress))
    except InvalidReference as error:
        if not isinstance(error.__cause__, AttributeError):
            raise
        raise Unsupported(
            f"the fit of {task.name} needs more of the module than its forward ({error.__cause__}), and quantization-aware "
            "training gives it the traced graph: let fit call the module alone"
        ) from error
    if not isinstance(trained, Traced):
        raise Unsupported(f"the fit of {task.name} returns another module than it was given: leave out --qat")
    _freeze(trained, task)
    fake = program_of(task, trained)
    with silent():
        rounded = Traced(convert_pt2e(copy.deepcopy(trained.graph_module), fold_quantize=False))
        round_biases(rounded.graph_module)
    return Trained(fake, replace(program_of(task, rounded), quantized=True))


def _prepared(task: Task) -> Any:
    traced = _trace(task)
    if not any(str(node.target) in WEIGHTED for node in traced.graph.nodes):
        raise Unsupported(
            f"{task.name} has no convolution and no linear layer that int8 kernels could run: leave out --qat"
        )
    _drop_counters(traced)
    try:
        return prepare_qat_pt2e(traced, Int8Quantizer())
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unsupported(
            f"{task.name} cannot be made ready for training with int8: {said}; leave out --qat"
        ) from error


def _drop_counters(traced: torch.fx.GraphModule) -> None:
    """Normalisations count their batches, which nothing reads; of one that is called twice, torchao erases the first count too soon."""
    for node in reversed(traced.graph.nodes):
        counted = node.args[0] if str(node.target) == "aten.add_.Tensor" else None
        while isinstance(counted, torch.fx.Node) and str(counted.target) == "aten.add_.Tensor":
            counted = counted.args[0]
        if str(getattr(counted, "target", "")).endswith("num_batches_tracked") and not node.users:
            traced.graph.erase_node(node)
    traced.recompile()


def _trace(task: Task) -> Any:
    """The module as it trains, for batches of any size."""
    axes = _with_batch(axes_of(task), task)
    inputs = resize(plain(task.example_inputs()), axes, tracing_lengths(axes))
    module = task.model().train()
    shapes = dynamic_shapes(Program(task.name, module, inputs, (), axes), bounded=False)[0]
    try:
        with silent():
            exported = export(module, tuple(map(torch.from_numpy, inputs.values())), shapes, gradients=True)
    except Exception as error:
        why, way = why_untraceable(error)
        raise Unsupported(f"{task.name} cannot be traced for training: {why}; {way}, or leave out --qat") from error
    return exported.module()


def _with_batch(axes: DynamicAxes, task: Task) -> DynamicAxes:
    """Training takes batches, also where the artifact does not."""
    if any(0 in by_axis for by_axis in axes.values()):
        return axes
    return {name: {**axes.get(name, {}), 0: Axis("batch")} for name in task.example_inputs()}


def _settling(module: torch.nn.Module, progress: Progress) -> Progress:
    def told(done: int, total: int) -> None:
        if done >= SETTLED_FROM * total:
            module.apply(_disable_activations)
        progress(done, total)

    return told


def _disable_activations(module: torch.nn.Module) -> None:
    """The scales of weights go on following the weights."""
    if getattr(module, "qscheme", None) == ACTIVATION.qscheme:
        disable_observer(module)


def _freeze(module: Traced, task: Task) -> None:
    """One run of the finished weights sets their scales; then every scale stays."""
    module.eval().apply(_disable_activations)
    with torch.no_grad():
        module(*(torch.from_numpy(array.copy()) for array in plain(task.example_inputs()).values()))
    module.apply(disable_observer)

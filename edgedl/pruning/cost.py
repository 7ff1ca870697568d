"""What a module costs on paper: parameters, and multiply-accumulates of one run."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgedl.exporter import Program
from edgedl.silence import silent


def parameters(module: nn.Module) -> int:
    """Numbers that are trained; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs(module: nn.Module, program: Program) -> int:
    """Multiply-accumulates of convolutions, matrix products and attention for one example of the program's inputs."""
    examples = (array[:1] if axis_first(program, name) else array for name, array in program.inputs.items())
    inputs = tuple(torch.from_numpy(np.array(array)) for array in examples)
    counter = FlopCounterMode(display=False)
    # oneDNN's and flash attention's own operators are unknown to torch's counter
    with (
        silent(),
        torch.enable_grad(),
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        counter,
    ):
        module.eval()(*inputs)
    return int(counter.get_total_flops()) // 2


def axis_first(program: Program, name: str) -> bool:
    """Whether the input's first axis is dynamic, so that one row of it is an example."""
    return program.axis(name, 0) is not None

"""What pnnx made, loaded into ncnn: one network for inputs of fixed shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from edgedl.errors import EngineFailed
from edgedl.spec import Array
from edgedl_ncnn.conversion import Converted


@dataclass(frozen=True)
class Network:
    """source: for messages. net: an ncnn.Net, which may run in several threads at once. inputs, outputs: see Converted."""

    source: Path
    net: Any
    inputs: dict[str, int]
    outputs: dict[str, int]

    def run(self, arrays: Sequence[Array], outputs: int) -> list[Array]:
        """The outputs, in their order, of float32 and int32 arrays in the order of the inputs; EngineFailed if ncnn gives up."""
        extractor = self.net.create_extractor()
        for number, array in enumerate(arrays):
            if (axis := self.inputs.get(f"in{number}")) is not None:
                extractor.input(f"in{number}", ncnn.Mat(array, batch_index=axis).clone())
        return [self._output(extractor, f"out{number}") for number in range(outputs)]

    def _output(self, extractor: Any, name: str) -> Array:
        if name not in self.outputs:
            raise EngineFailed(
                f"{self.source} is not for ncnn: pnnx loses its output number {name.removeprefix('out')}"
            )
        code, found = extractor.extract(name)
        if code:
            raise EngineFailed(f"{self.source} is not for ncnn, which gives the code {code} in place of an output")
        return np.array(found.numpy(batch_index=self.outputs[name]))


def open_network(source: Path, converted: Converted, threads: int | None, precision: str) -> Network:
    """precision: `f32`, `bf16` or `fp16`. EngineFailed names the layers that ncnn lacks."""
    _check_layers(source, converted)
    net = ncnn.Net()
    if threads is not None:
        net.opt.num_threads = threads
    _set_precision(net.opt, precision)
    if net.load_param(str(converted.param)) or net.load_model(str(converted.bin)):
        raise EngineFailed(f"{source} is not for ncnn, which does not load what pnnx made of it")
    return Network(source, net, converted.inputs, converted.outputs)


def _set_precision(option: Any, precision: str) -> None:
    for kind, names in {"fp16": ("storage", "packed", "arithmetic"), "bf16": ("storage", "packed")}.items():
        for name in names:
            setattr(option, f"use_{kind}_{name}", kind == precision)


def _check_layers(source: Path, converted: Converted) -> None:
    """pnnx writes what it has no ncnn layer for as it is."""
    kinds = {line.split()[0] for line in converted.param.read_text().splitlines()[2:] if line.strip()}
    if missing := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        quantized = ": take the float file" if any("quantize" in kind.lower() for kind in missing) else ""
        raise EngineFailed(f"{source} is not for ncnn, which has no layer for {', '.join(missing)}{quantized}")

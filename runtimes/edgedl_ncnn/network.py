"""ncnn's two files, loaded into ncnn."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from edgedl.errors import EngineFailed
from edgedl.spec import Array, TensorSpec
from edgedl_ncnn.files import Files, Port


@dataclass(frozen=True)
class Network:
    """source: for messages. net: an ncnn.Net, which may run in several threads at once."""

    source: Path
    net: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Outputs by name, from float32 and int32 arrays in the order of the inputs; EngineFailed if ncnn gives up."""
        extractor, lengths = self.net.create_extractor(), dict[int | str, int]()
        for port, array in zip(self.inputs, arrays, strict=True):
            lengths.update(zip(port.spec.shape, array.shape, strict=True))
            if port.blob is not None:
                extractor.input(port.blob, ncnn.Mat(array, batch_index=port.batch).clone())
        return {port.spec.name: self._output(extractor, port, lengths) for port in self.outputs}

    def _output(self, extractor: Any, port: Port, lengths: Mapping[int | str, int]) -> Array:
        code, found = extractor.extract(port.blob)
        if code:
            raise EngineFailed(f"ncnn gives up on {self.source} (code {code} for {port.spec.name!r}){at(lengths)}")
        return as_told(np.array(found.numpy(batch_index=port.batch)), port.spec, lengths)


def as_told(array: Array, spec: TensorSpec, lengths: Mapping[int | str, int]) -> Array:
    """An output of ncnn in the shape that the file tells; EngineFailed if it has another size.

    lengths: of the dynamic axes of the inputs. An output with other axes has to come in its own shape.
    """
    shape = tuple(d if isinstance(d, int) else lengths.get(d, -1) for d in spec.shape)
    fits = math.prod(shape) == array.size if -1 not in shape else spec.accepts(array.shape)
    if not fits:
        raise EngineFailed(f"ncnn gives an output of shape {array.shape}, and the file tells {spec}{at(lengths)}")
    return array if -1 in shape else array.reshape(shape)


def at(lengths: Mapping[int | str, int]) -> str:
    """At which lengths of the dynamic axes, if there are any: the end of a sentence about what does not work there."""
    told = ", ".join(f"{name}={length}" for name, length in lengths.items() if isinstance(name, str))
    return f", at {told}; ncnn has few layers for dynamic axes: export it without --dynamic" if told else ""


@dataclass(frozen=True)
class Settings:
    """threads: None leaves the choice to ncnn. precision: `f32`, `bf16` or `fp16`. winograd: of 3x3 convolutions."""

    threads: int | None
    precision: str
    winograd: bool


def open_network(source: Path, files: Files, settings: Settings) -> Network:
    """The network, loaded; EngineFailed, about `source`, if ncnn does not load it."""
    net = ncnn.Net()
    if settings.threads is not None:
        net.opt.num_threads = settings.threads
    net.opt.use_winograd_convolution = settings.winograd
    _set_precision(net.opt, settings.precision)
    with tempfile.TemporaryDirectory(prefix="edgedl-ncnn-") as folder:
        param, weights = Path(folder) / "model.param", Path(folder) / "model.bin"
        param.write_text(files.param)
        weights.write_bytes(files.weights)
        if net.load_param(str(param)) or net.load_model(str(weights)):
            raise EngineFailed(f"ncnn does not load {source}: a layer that its release lacks?")
    return Network(source, net, files.inputs, files.outputs)


def _set_precision(option: Any, precision: str) -> None:
    for kind, names in {"fp16": ("storage", "packed", "arithmetic"), "bf16": ("storage", "packed")}.items():
        for name in names:
            setattr(option, f"use_{kind}_{name}", kind == precision)

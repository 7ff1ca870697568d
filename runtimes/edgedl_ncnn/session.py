"""A `.ncnn` file behind edgedl's Session, and what every session of ncnn has."""

from __future__ import annotations

from collections.abc import Sequence

import ncnn
import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import InvalidTensor, Unavailable
from edgedl.runtime import NO_OPTIONS, Options, Session, option_value
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl_ncnn.files import read
from edgedl_ncnn.network import Settings, open_network

_PRECISIONS = {name: name for name in ("f32", "bf16", "fp16")}
_SWITCH = {"0": False, "1": True}


class NcnnSession(Session):
    """engine: name, version and the precision of weights and activations; int8 layers stay int8."""

    def __init__(self, source: Artifact, device: str, threads: int | None, options: Options = NO_OPTIONS) -> None:
        settings = settings_of(device, threads, options)
        files = read(source.path)
        inputs, outputs = (tuple(port.spec for port in side) for side in (files.inputs, files.outputs))
        super().__init__(inputs, outputs, engine_name(settings), device)
        self._network = open_network(source.path, files, settings)

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        return self._network.run(checked(feeds, self.inputs))


def settings_of(device: str, threads: int | None, options: Options) -> Settings:
    """From the options' texts; Unavailable where ncnn would keep float32 activations instead, and not say so."""
    if device != "cpu":
        raise Unavailable(f"device {device!r} is not here: ncnn runs on 'cpu' in edgedl")
    precision = option_value(options, "precision", _PRECISIONS, "f32")
    if precision == "fp16" and not ncnn.cpu_support_arm_asimdhp():
        raise Unavailable("precision=fp16 is not here: this processor computes in f32 and bf16 in ncnn")
    return Settings(threads, precision, option_value(options, "winograd", _SWITCH, "1"))


def engine_name(settings: Settings) -> str:
    """As `ncnn 1.0.20261020, f32`: what changes the numbers is in it."""
    return f"ncnn {ncnn.__version__}, {settings.precision}{'' if settings.winograd else ', no winograd'}"


def checked(feeds: Feeds, specs: Sequence[TensorSpec]) -> list[Array]:
    """The arrays in the order of the specs, float32 or int32; InvalidTensor for what ncnn cannot take."""
    if len(feeds) != len(specs):
        raise InvalidTensor(f"expected {len(specs)} inputs, got {len(feeds)}")
    return [_checked(feeds[spec.name], spec) for spec in specs]


def _checked(array: Array, spec: TensorSpec) -> Array:
    """ncnn's integers have 32 bits."""
    if array.dtype.name != spec.dtype or not spec.accepts(array.shape):
        raise InvalidTensor(f"input {spec.name!r} is {array.dtype}{list(array.shape)}, expected {spec}")
    if not array.size:
        raise InvalidTensor(f"input {spec.name!r} is empty, {list(array.shape)}: ncnn has no empty tensors")
    if array.dtype != np.int64:
        return np.ascontiguousarray(array)
    narrow = array.astype(np.int32)
    if not np.array_equal(narrow, array):
        raise InvalidTensor(f"input {spec.name!r} has values beyond 32 bits, which is all that ncnn's integers have")
    return narrow

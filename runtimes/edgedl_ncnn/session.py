"""An ONNX file in ncnn, behind edgedl's Session: converted anew for each set of input shapes, since ncnn's files have fixed ones."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

import ncnn
import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact, golden_path
from edgedl.errors import EngineFailed, InvalidTensor, Unavailable
from edgedl.isolated import IsolatedSession
from edgedl.runtime import NO_OPTIONS, Options, Session, Source, accept, option_value
from edgedl.schemes import SCHEMES
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.verify.parity import compare
from edgedl_ncnn.conversion import Shapes, convert
from edgedl_ncnn.network import Network, open_network
from edgedl_ncnn.specs import as_told, specs_of

_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "fp16": "fp16"}
"""value of the option -> the scheme whose tolerance it needs"""
_KEPT = 4
"""networks of different shapes that a session holds; the one used longest ago goes"""


class NcnnSession(Session):
    """engine: name, version and the precision of weights and activations.

    pnnx has been seen to drop what it cannot express, and to say so in a log line at most. So no network is used before its
    outputs were held against known ones: the golden vectors when the file is loaded; for inputs of other shapes, ONNX
    Runtime in a process of its own, where it is installed.
    """

    def __init__(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> None:
        assert isinstance(source, Artifact)
        if device != "cpu":
            raise Unavailable(f"device {device!r} is not here: ncnn runs on 'cpu' in edgedl")
        self._source, self._threads, self._lock = source, threads, threading.Lock()
        self._tolerance = option_value(options, "precision", _PRECISIONS, "f32")
        self._precision = options.get("precision", "f32")
        _check_precision(self._precision)
        self._networks: OrderedDict[Shapes, Network | EngineFailed] = OrderedDict()
        super().__init__(*specs_of(source.path), f"ncnn {ncnn.__version__}, {self._precision}", device)
        if source.manifest and golden_path(source.path).is_file():
            inputs, expected = source.golden()
            self._network(self._arrays(accept(inputs, self.inputs)), expected)

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        arrays = self._arrays(feeds)
        return self._outputs(self._network(arrays), arrays)

    def _arrays(self, feeds: Feeds) -> list[Array]:
        if len(feeds) != len(self.inputs):
            raise InvalidTensor(f"expected {len(self.inputs)} inputs, got {len(feeds)}")
        return [_checked(feeds[spec.name], spec) for spec in self.inputs]

    def _outputs(self, network: Network, arrays: list[Array]) -> dict[str, Array]:
        pairs = zip(self.inputs, arrays, strict=True)
        lengths = {d: n for spec, array in pairs for d, n in zip(spec.shape, array.shape, strict=True)}
        found = zip(self.outputs, network.run(arrays, len(self.outputs)), strict=True)
        return {spec.name: as_told(array, spec, lengths) for spec, array in found}

    def _network(self, arrays: list[Array], expected: Feeds | None = None) -> Network:
        """That of the arrays' shapes; a refusal is remembered as well."""
        shapes = tuple(array.shape for array in arrays)
        with self._lock:
            if shapes not in self._networks:
                self._networks[shapes] = self._made_or_refused(arrays, expected)
                while len(self._networks) > _KEPT:
                    self._networks.popitem(last=False)
            self._networks.move_to_end(shapes)
            found = self._networks[shapes]
        if isinstance(found, EngineFailed):
            raise found
        return found

    def _made_or_refused(self, arrays: list[Array], expected: Feeds | None) -> Network | EngineFailed:
        try:
            network = self._made(tuple(array.shape for array in arrays))
            self._prove(self._outputs(network, arrays), self._known(arrays) if expected is None else expected)
        except EngineFailed as error:
            return error
        return network

    def _made(self, shapes: Shapes) -> Network:
        with tempfile.TemporaryDirectory(prefix="edgedl-ncnn-") as folder:
            converted = convert(self._source.path, self.inputs, shapes, Path(folder))
            return open_network(self._source.path, converted, self._threads, self._precision)

    def _known(self, arrays: list[Array]) -> Feeds:
        """What ONNX Runtime gives; nothing where it is not installed."""
        if not registry.installed("onnxruntime"):
            return {}
        pairs = zip(self.inputs, arrays, strict=True)
        feeds = {spec.name: array.astype(spec.dtype, copy=False) for spec, array in pairs}
        with IsolatedSession(self._source, "ort", threads=1) as session:
            return session.run(feeds)

    def _prove(self, got: Feeds, expected: Feeds) -> None:
        scheme = self._source.manifest.scheme if self._source.manifest else "fp32"
        tolerance = max(SCHEMES[name].tolerance.relative_rms for name in (scheme, self._tolerance))
        for name, want in expected.items():
            if failure := compare("ncnn", name, got[name], want, tolerance).failure:
                raise EngineFailed(
                    f"{self._source.path} is not for ncnn, which computes something else of it (output {name!r}: {failure})"
                )

    def close(self) -> None:
        self._networks.clear()


def _check_precision(precision: str) -> None:
    """ncnn would keep float32 activations instead, and not say so."""
    if precision == "fp16" and not ncnn.cpu_support_arm_asimdhp():
        raise Unavailable("precision=fp16 is not here: this processor computes in f32 and bf16 in ncnn")


def _checked(array: Array, spec: TensorSpec) -> Array:
    """What ncnn takes: its integers have 32 bits."""
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

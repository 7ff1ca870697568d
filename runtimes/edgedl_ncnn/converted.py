"""An ONNX file in ncnn: converted anew for each set of input shapes, and held against known outputs before it is used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from edgedl import registry
from edgedl.artifact import Artifact, golden_path
from edgedl.errors import EngineFailed
from edgedl.isolated import IsolatedSession
from edgedl.runtime import NO_OPTIONS, Options, Session, accept
from edgedl.schemes import SCHEMES
from edgedl.spec import Array, Feeds
from edgedl.verify.parity import compare
from edgedl_ncnn.network import Network, open_network
from edgedl_ncnn.session import checked, engine_name, settings_of

_SCHEMES = {"f32": "fp32", "bf16": "bf16", "fp16": "fp16"}
"""precision -> the scheme whose tolerance it needs"""
_KEPT = 4
"""networks of different shapes that a session holds; the one used longest ago goes"""


class ConvertedSession(Session):
    """pnnx has been seen to drop what it cannot express, and to say so in a log line at most. So no network is used before its
    outputs were held against known ones: the golden vectors when the file is loaded; for inputs of other shapes, ONNX
    Runtime in a process of its own, where it is installed.
    """

    def __init__(self, source: Artifact, device: str, threads: int | None, options: Options = NO_OPTIONS) -> None:
        self._settings = settings_of(device, threads, options)
        exporter: Any = registry.exporter("ncnn")  # has two methods that others have not
        inputs, outputs = exporter.onnx_specs(source.path)
        super().__init__(inputs, outputs, engine_name(self._settings), device)
        self._exporter = exporter
        self._source, self._lock = source, threading.Lock()
        self._networks: OrderedDict[tuple[tuple[int, ...], ...], Network | EngineFailed] = OrderedDict()
        if source.manifest and golden_path(source.path).is_file():
            inputs, expected = source.golden()
            self._network(checked(accept(inputs, self.inputs), self.inputs), expected)

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        arrays = checked(feeds, self.inputs)
        return self._network(arrays).run(arrays)

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
        path, shapes = self._source.path, tuple(array.shape for array in arrays)
        try:
            files = self._exporter.converted(path, self.inputs, self.outputs, shapes, str(path))
            network = open_network(path, files, self._settings)
            self._prove(network.run(arrays), self._known(arrays) if expected is None else expected)
        except EngineFailed as error:
            return error
        return network

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
        tolerance = max(SCHEMES[name].tolerance.relative_rms for name in (scheme, _SCHEMES[self._settings.precision]))
        for name, want in expected.items():
            if failure := compare("ncnn", name, got[name], want, tolerance).failure:
                raise EngineFailed(
                    f"{self._source.path} is not for ncnn, which computes something else of it (output {name!r}: {failure})"
                )

    def close(self) -> None:
        self._networks.clear()

"""ncnn as an edgedl runtime: its own files, and ONNX files that pnnx converts, on the processors of phones and of this machine."""

from __future__ import annotations

from types import MappingProxyType

from edgedl.artifact import Artifact
from edgedl.runtime import NO_OPTIONS, Options, Session, Source


class NcnnRuntime:
    """Loads `.ncnn` files, and `.onnx` files whose operators pnnx and ncnn have. device: `cpu`."""

    name = "ncnn"
    formats = frozenset({"ncnn", "onnx"})
    requires = ("ncnn",)
    extra = "ncnn"
    converts = frozenset({"onnx"})
    """formats whose files another process turns into this engine's"""
    options: Options = MappingProxyType(
        {
            "precision": "f32 (default); bf16 or, on ARM processors that compute in it, fp16: of weights and activations",
            "winograd": "1 (default) or 0: whether 3x3 convolutions may go Winograd's way, which can slow int8 down",
        }
    )

    def load(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
        from edgedl_ncnn.converted import ConvertedSession
        from edgedl_ncnn.session import NcnnSession

        assert isinstance(source, Artifact)
        return (NcnnSession if source.format == "ncnn" else ConvertedSession)(source, device, threads, options)


runtime = NcnnRuntime()

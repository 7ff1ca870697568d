"""ncnn as an edgedl runtime: ONNX files on the processors of phones and of this machine, converted by pnnx."""

from __future__ import annotations

from types import MappingProxyType

from edgedl.runtime import NO_OPTIONS, Options, Session, Source


class NcnnRuntime:
    """Loads `.onnx` files whose operators pnnx and ncnn have. device: `cpu`."""

    name = "ncnn"
    formats = frozenset({"onnx"})
    requires = ("ncnn", "pnnx", "onnx")
    extra = "ncnn"
    options: Options = MappingProxyType(
        {"precision": "f32 (default); bf16 or, on ARM processors that compute in it, fp16: of weights and activations"}
    )

    def load(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
        from edgedl_ncnn.session import NcnnSession

        return NcnnSession(source, device, threads, options)


runtime = NcnnRuntime()

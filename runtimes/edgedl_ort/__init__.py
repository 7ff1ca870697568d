"""ONNX Runtime as an edgedl runtime: CPU, CUDA and TensorRT providers."""

from __future__ import annotations

from edgedl.runtime import Session, Source


class OrtRuntime:
    """Loads `.onnx` files. device: `cpu`, `cuda` or `tensorrt`."""

    name = "ort"
    formats = frozenset({"onnx"})
    requires = ("onnxruntime",)
    extra = "ort"

    def load(self, source: Source, device: str, threads: int | None) -> Session:
        from edgedl_ort.session import OrtSession

        return OrtSession(source, device, threads)


runtime = OrtRuntime()

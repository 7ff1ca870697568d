"""LiteRT as an edgedl runtime, or tflite-runtime where only that is installed."""

from __future__ import annotations

from types import MappingProxyType

from edgedl.runtime import NO_OPTIONS, Options, Session, Source


class LitertRuntime:
    """Loads `.tflite` files. device: `cpu`."""

    name = "litert"
    formats = frozenset({"tflite"})
    requires: tuple[str, ...] = ("ai_edge_litert|tflite_runtime",)
    modules: tuple[str, ...] = ("ai_edge_litert.interpreter|tflite_runtime.interpreter",)
    extra = "litert"
    options: Options = MappingProxyType({"kernels": "xnnpack (default), builtin or reference"})

    def load(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
        from edgedl_litert.session import LitertSession

        return LitertSession(source, device, threads, options)


runtime = LitertRuntime()

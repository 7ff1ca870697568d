"""LiteRT as an edgedl runtime, or tflite-runtime where only that is installed."""

from __future__ import annotations

from edgedl.runtime import Session, Source


class LitertRuntime:
    """Loads `.tflite` files. device: `cpu`."""

    name = "litert"
    formats = frozenset({"tflite"})
    requires: tuple[str, ...] = ("ai_edge_litert|tflite_runtime",)
    extra = "litert"

    def load(self, source: Source, device: str, threads: int | None) -> Session:
        from edgedl_litert.session import LitertSession

        return LitertSession(source, device, threads)


runtime = LitertRuntime()

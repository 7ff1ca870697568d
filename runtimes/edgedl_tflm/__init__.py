"""TensorFlow Lite Micro as an edgedl runtime: what a microcontroller computes, by its reference kernels on this machine."""

from __future__ import annotations

from edgedl.runtime import Session, Source


class TflmRuntime:
    """Loads `.tflite` files. device: `cpu`. One thread, and every axis at its written length.

    Its kernels are made to be read, and dozens of times slower than LiteRT's here: it is taken where it is named.
    """

    name = "tflm"
    formats = frozenset({"tflite"})
    requires: tuple[str, ...] = ("tflite_micro",)
    extra = "mcu"
    named_only = True

    def load(self, source: Source, device: str, threads: int | None) -> Session:
        from edgedl_tflm.session import TflmSession

        return TflmSession(source, device)


runtime = TflmRuntime()

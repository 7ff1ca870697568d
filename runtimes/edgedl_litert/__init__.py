"""LiteRT as an edgedl runtime, or tflite-runtime where only that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgedl.runtime import NO_OPTIONS, Options, Session, Source

if TYPE_CHECKING:
    from edgedl.measure.profile import Profile
    from edgedl.spec import Feeds


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

    def profile(
        self, source: Source, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int
    ) -> Profile:
        from edgedl_litert.profile import profile

        return profile(source, threads, options, sets[0], runs)


runtime = LitertRuntime()

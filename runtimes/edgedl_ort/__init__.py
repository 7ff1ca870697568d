"""ONNX Runtime as an edgedl runtime: CPU, CUDA and TensorRT providers."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgedl.runtime import NO_OPTIONS, Options, Session, Source

if TYPE_CHECKING:
    from edgedl.measure.profile import Profile
    from edgedl.spec import Feeds


class OrtRuntime:
    """Loads `.onnx` files. device: `cpu`, `cuda` or `tensorrt`."""

    name = "ort"
    formats = frozenset({"onnx"})
    requires = ("onnxruntime",)
    extra = "ort"
    options: Options = MappingProxyType(
        {
            "spinning": "1 or 0: whether idle threads spin (0 by default where there is one thread)",
            "optimization": "all (default), extended, basic or none",
            "execution": "sequential (default) or parallel",
            "precision": "on a GPU: fp32 (default), tf32 with cuda; fp32, fp16, int8 with tensorrt",
            "transfers": "on a GPU: 1 (default) or 0: whether each run copies inputs and outputs",
            "fallback": "on a GPU: 0 (default) or 1: whether operators without a kernel there may run on the processor",
            "exact": "0 (default) or 1: on x86 without VNNI, int8 sums that cannot saturate, by slower kernels",
            "arena": "1 (default) or 0: whether freed memory is kept",
        }
    )

    def load(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
        from edgedl_ort.session import OrtSession

        return OrtSession(source, device, threads, options)

    def profile(
        self, source: Source, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int
    ) -> Profile:
        from edgedl_ort.profile import profile

        return profile(source, device, threads, options, sets, runs)


runtime = OrtRuntime()

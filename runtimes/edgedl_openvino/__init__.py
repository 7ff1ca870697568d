"""OpenVINO as an edgedl runtime: ONNX and TFLite files on Intel and ARM processors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgedl.runtime import NO_OPTIONS, Options, Session, Source

if TYPE_CHECKING:
    from edgedl.measure.profile import Profile
    from edgedl.spec import Feeds

# OpenVINO reports its own import to an analytics host through this package, and does without where it is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class OpenvinoRuntime:
    """Loads `.onnx` and `.tflite` files. device: `cpu`."""

    name = "openvino"
    formats = frozenset({"onnx", "tflite"})
    requires = ("openvino",)
    extra = "openvino"
    options: Options = MappingProxyType(
        {
            "precision": "auto (default: the engine's own choice, bf16 on processors that have it), f32, bf16 or f16",
            "pinning": "0 (default) or 1: whether its threads stay on one core, which a busy machine punishes",
            "hint": "latency (default) or throughput",
        }
    )

    def load(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
        from edgedl_openvino.session import OpenvinoSession

        return OpenvinoSession(source, device, threads, options)

    def profile(
        self, source: Source, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int
    ) -> Profile:
        from edgedl_openvino.profile import profile

        return profile(source, threads, options, sets, runs)


runtime = OpenvinoRuntime()

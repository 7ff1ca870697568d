"""The machine and the software that a figure belongs to. What cannot be read is None; nothing is imported."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path

PACKAGES = (
    "edgedl", "numpy", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tflite-runtime", "tflite-micro", "openvino", "ncnn", "pnnx", "torch",
)  # fmt: skip
"""distributions whose versions are recorded"""
FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "fma", "f16c",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""processor flags on which the speed of a quantized model depends"""


@dataclass(frozen=True)
class Environment:
    """memory_bytes: of the machine. load_before, load_after: the 1-minute load average.

    container: what a cgroup limits (`cpu.max`, `memory.max`). date: UTC, ISO 8601. packages: versions by distribution.
    board: what a device tree calls the machine. distribution: of Linux, by its own name.
    """

    cpu: str
    cores: int
    flags: tuple[str, ...]
    memory_bytes: int | None
    system: str
    python: str
    packages: Mapping[str, str]
    date: str
    governor: str | None = None
    container: Mapping[str, str] | None = None
    load_before: float | None = None
    load_after: float | None = None
    board: str | None = None
    distribution: str | None = None


def environment() -> Environment:
    """The environment as it is now; call `finish` after the measurement."""
    cpuinfo = _text("/proc/cpuinfo")
    return Environment(
        cpu=_field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        cores=_cores(),
        flags=flags_of(cpuinfo),
        memory_bytes=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=_packages(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        container=_container(),
        load_before=load_average(),
        board=_text("/proc/device-tree/model").strip("\0 \n") or None,
        distribution=_distribution(),
    )


def finish(before: Environment) -> Environment:
    """The same, with the load as it is now."""
    return replace(before, load_after=load_average())


def load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _field(cpuinfo: str, name: str) -> str | None:
    values = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.partition(":")[0].strip() == name)
    return next(values, None)


def flags_of(cpuinfo: str) -> tuple[str, ...]:
    """Those of FLAGS that a /proc/cpuinfo names."""
    there = (_field(cpuinfo, "flags") or _field(cpuinfo, "Features") or "").split()
    return tuple(flag for flag in FLAGS if flag in there)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int | None:
    words = (_field(_text("/proc/meminfo"), "MemTotal") or "").split()
    return int(words[0]) * 1024 if words else None


def _packages() -> dict[str, str]:
    found = {name: next(iter(distributions(name=name)), None) for name in PACKAGES}
    return {name: distribution.version for name, distribution in found.items() if distribution}


def _distribution() -> str | None:
    """As Debian GNU/Linux 12 (bookworm)."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _container() -> dict[str, str] | None:
    limits = {name: _text(f"/sys/fs/cgroup/{name}").strip() for name in ("cpu.max", "memory.max")}
    return {name: limit for name, limit in limits.items() if limit and not limit.startswith("max")} or None

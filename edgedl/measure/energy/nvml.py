"""What one NVIDIA GPU tells: its total energy (Volta and later, in millijoules), and the memory that a process holds on it.

nvmlDeviceGetTotalEnergyConsumption, nvmlDeviceGetComputeRunningProcesses:
https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

from edgedl import registry
from edgedl.errors import Unavailable


class Nvml:
    """The GPU that CUDA calls device 0."""

    period = 60.0
    delay = 0.1
    """renewed every 20 to 100 ms, by the board: Yang et al., "Accurate and Convenient Energy Measurements for GPUs", SC 2024"""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._start = self._read()
        name = nvml.nvmlDeviceGetName(handle)
        self.name = f"NVML {name.decode() if isinstance(name, bytes) else name}"

    def joules(self) -> float:
        return self._read() - self._start

    def _read(self) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3
        except self._nvml.NVMLError as error:
            raise Unavailable(f"NVML: this GPU tells no total energy: {error}") from error


def find() -> Nvml:
    """Unavailable, with the reason, where NVML or the GPU's counter is not there."""
    nvml, handle = _opened()
    try:
        return Nvml(nvml, handle)
    except nvml.NVMLError as error:
        raise Unavailable(f"NVML: {error}") from error


def process_memory(pid: int) -> int | None:
    """Bytes that the process holds on the GPU now; None where NVML is not there, or does not tell or know the process.

    Engines keep what they once took, so that this is their peak. In a container the driver may know other numbers of processes.
    """
    with contextlib.suppress(Unavailable):
        nvml, handle = _opened()
        with contextlib.suppress(nvml.NVMLError):
            running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            return next((process.usedGpuMemory for process in running if process.pid == pid), None)
    return None


def _opened() -> tuple[Any, Any]:
    """The library and the handle of the GPU."""
    if not registry.installed("pynvml"):
        raise Unavailable("NVML: nvidia-ml-py is not installed: pip install 'edgedl[nvml]'")
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        return nvml, _device(nvml)
    except nvml.NVMLError as error:
        raise Unavailable(f"NVML: {error}") from error


def _device(nvml: Any) -> Any:
    """NVML counts all GPUs; CUDA's device 0 is the first in CUDA_VISIBLE_DEVICES."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return nvml.nvmlDeviceGetHandleByIndex(int(first)) if first.isdigit() else nvml.nvmlDeviceGetHandleByUUID(first)

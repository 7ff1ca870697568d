"""Energy counters on made-up sysfs trees: no machine needs to have one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from test_measure_samples import measured, record

from edgedl.errors import Unavailable
from edgedl.measure import Memory
from edgedl.measure.energy import hwmon, nvml, powercap
from edgedl.report import benchmark_table
from edgedl.runtime import Session
from edgedl.worker import Worker

RANGE = 262_143_328_850


def _zone(folder: Path, name: str, energy: int = 0) -> Path:
    folder.mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", RANGE)):
        (folder / file).write_text(f"{value}\n")
    return folder


@pytest.fixture()
def two_packages(tmp_path: Path) -> Path:
    """Two sockets with cores and memory, the platform's own counter, and the memory-mapped doubles."""
    for package in (0, 1):
        _zone(tmp_path / f"intel-rapl:{package}", f"package-{package}")
        _zone(tmp_path / f"intel-rapl:{package}" / f"intel-rapl:{package}:0", "core")
        _zone(tmp_path / f"intel-rapl:{package}" / f"intel-rapl:{package}:1", "dram")
    _zone(tmp_path / "intel-rapl:2", "psys")
    _zone(tmp_path / "intel-rapl-mmio:0", "package-0")
    return tmp_path


def _set(zone: Path, microjoules: int) -> None:
    (zone / "energy_uj").write_text(f"{microjoules}\n")


def test_rapl_adds_packages_and_memory_and_nothing_twice(two_packages: Path) -> None:
    counter = powercap.find(two_packages)
    assert counter.name == "RAPL package-0 + package-0 dram + package-1 + package-1 dram"
    for zone in two_packages.rglob("*:*"):
        _set(zone, 1_500_000)
    assert counter.joules() == pytest.approx(4 * 1.5)


def test_rapl_runs_over(two_packages: Path) -> None:
    zone = two_packages / "intel-rapl:0"
    _set(zone, RANGE - 2_000_000)
    counter = powercap.find(two_packages)
    _set(zone, 3_000_000)
    assert counter.joules() == pytest.approx(5.0)
    _set(zone, 4_000_000)
    assert counter.joules() == pytest.approx(6.0)


def test_rapl_is_refused_where_a_package_cannot_be_read(two_packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 2020 only root reads it; a part would be no sum. Tests may run as root, so the refusal is made."""
    read = Path.read_text

    def guarded(self: Path, *args: Any, **kwargs: Any) -> str:
        if "intel-rapl:1" in str(self) and self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", guarded)
    with pytest.raises(Unavailable, match=r"root only: sudo chmod a\+r .*intel-rapl:1/energy_uj"):
        powercap.find(two_packages)


@pytest.mark.parametrize("text", ["", "many\n", None])
def test_rapl_is_refused_where_it_holds_no_number(two_packages: Path, text: str | None) -> None:
    file = two_packages / "intel-rapl:0" / "energy_uj"
    file.write_text(text) if text is not None else file.unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        powercap.find(two_packages)


def test_rapl_says_that_there_is_none(tmp_path: Path) -> None:
    _zone(tmp_path / "intel-rapl:0", "psys")
    with pytest.raises(Unavailable, match="no processor package"):
        powercap.find(tmp_path)
    with pytest.raises(Unavailable, match="no processor package"):
        powercap.find(tmp_path / "absent")


def _chip(root: Path, number: int, name: str, **files: object) -> Path:
    folder = root / f"hwmon{number}"
    folder.mkdir(parents=True)
    for file, value in {"name": name, **files}.items():
        (folder / file).write_text(f"{value}\n")
    return folder


def test_hwmon_takes_the_only_sensor_and_integrates_it(tmp_path: Path) -> None:
    _chip(tmp_path, 0, "coretemp", power1_input=9_000_000)
    chip = _chip(tmp_path, 1, "ina226", power1_input=2_000_000)
    times = iter([0.0, 1.0, 3.0])
    counter = hwmon.PowerRails(hwmon._rails(chip), clock=lambda: next(times))
    (chip / "power1_input").write_text("4000000")
    assert counter.joules() == pytest.approx(3.0)  # from 2 W to 4 W in one second
    assert counter.joules() == pytest.approx(3.0 + 8.0)
    assert hwmon.find(tmp_path).name == "hwmon ina226-hwmon1-1"


def _jetson(root: Path) -> Path:
    rails = {"in1_label": "VDD_IN", "in2_label": "VDD_CPU_GPU_CV", "in3_label": "VDD_SOC"}
    volts = {f"in{n}_input": 5000 for n in (1, 2, 3)}
    amperes = {f"curr{n}_input": 1000 * n for n in (1, 2, 3)}
    return _chip(root, 0, "ina3221", **rails, **volts, **amperes)


def test_hwmon_takes_the_rail_that_feeds_the_board(tmp_path: Path) -> None:
    """A Jetson's INA3221 tells volts and amperes; VDD_IN feeds the other two."""
    _jetson(tmp_path)
    counter = hwmon.find(tmp_path)
    assert (counter.name, counter._read()) == ("hwmon VDD_IN", pytest.approx(5.0))


def test_hwmon_asks_where_no_rail_feeds_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _jetson(tmp_path)
    (tmp_path / "hwmon0" / "in1_label").write_text("VDD_GPU")
    with pytest.raises(Unavailable, match="EDGEDL_POWER_RAILS, none feeds all: VDD_GPU, VDD_CPU_GPU_CV, VDD_SOC"):
        hwmon.find(tmp_path)
    monkeypatch.setenv("EDGEDL_POWER_RAILS", "VDD_SOC, VDD_GPU")
    assert hwmon.find(tmp_path)._read() == pytest.approx(15.0 + 5.0)
    monkeypatch.setenv("EDGEDL_POWER_RAILS", "VDD_NPU")
    with pytest.raises(Unavailable, match="names 'VDD_NPU'; the rails are VDD_GPU"):
        hwmon.find(tmp_path)


def test_hwmon_says_that_there_is_none_or_that_it_was_lost(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no power sensor"):
        hwmon.find(tmp_path)
    chip = _chip(tmp_path, 1, "ina219", power1_input=1)
    counter = hwmon.find(tmp_path)
    (chip / "power1_input").unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        counter.joules()


class NvmlError(Exception):
    pass


def _fake_nvml(monkeypatch: pytest.MonkeyPatch, energies: list[int]) -> list[object]:
    """nvidia-ml-py's functions as far as they are used; the list gets the device that was asked for."""
    asked: list[object] = []
    module: Any = SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: asked.append(index) or "gpu",
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or "gpu",
        nvmlDeviceGetName=lambda handle: b"NVIDIA H100",
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: energies.pop(0),
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr("edgedl.registry.installed", lambda name: True)
    return asked


@pytest.mark.parametrize(("visible", "device"), [(None, 0), ("2,3", 2), ("GPU-5f", "GPU-5f")])
def test_nvml_counts_the_gpu_that_cuda_calls_0(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: object
) -> None:
    asked = _fake_nvml(monkeypatch, [5_000, 7_500])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    counter = nvml.find()
    assert (counter.name, counter.joules(), asked) == ("NVML NVIDIA H100", pytest.approx(2.5), [device])


def test_nvml_says_what_ails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_nvml(monkeypatch, [])

    def unsupported(handle: object) -> int:
        raise NvmlError("Not Supported")

    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetTotalEnergyConsumption", unsupported)
    with pytest.raises(Unavailable, match="tells no total energy: Not Supported"):
        nvml.find()
    monkeypatch.setattr("edgedl.registry.installed", lambda name: False)
    with pytest.raises(Unavailable, match=r"pip install 'edgedl\[nvml\]'"):
        nvml.find()


@pytest.mark.parametrize(("pid", "held"), [(7, 350 << 20), (8, None), (9, None)])
def test_nvml_tells_what_a_process_holds(monkeypatch: pytest.MonkeyPatch, pid: int, held: int | None) -> None:
    """One is told with its memory, one without (as some drivers do), and one is not known."""
    _fake_nvml(monkeypatch, [])
    running = [SimpleNamespace(pid=7, usedGpuMemory=350 << 20), SimpleNamespace(pid=8, usedGpuMemory=None)]
    monkeypatch.setattr(
        sys.modules["pynvml"], "nvmlDeviceGetComputeRunningProcesses", lambda handle: running, raising=False
    )
    assert nvml.process_memory(pid) == held


def test_without_nvml_no_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_nvml(monkeypatch, [])

    def refused(handle: object) -> list[object]:
        raise NvmlError("Not Supported")

    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetComputeRunningProcesses", refused, raising=False)
    assert nvml.process_memory(7) is None
    monkeypatch.setattr("edgedl.registry.installed", lambda name: False)
    assert nvml.process_memory(7) is None


@pytest.mark.parametrize(("device", "asked"), [("cpu", []), ("cuda", [os.getpid()])])
def test_the_worker_tells_the_memory_of_its_gpu(monkeypatch: pytest.MonkeyPatch, device: str, asked: list[int]) -> None:
    pids: list[int] = []
    monkeypatch.setattr(nvml, "process_memory", lambda pid: pids.append(pid) or 5_000_000)
    worker = Worker()
    worker.session = cast(Session, SimpleNamespace(device=device))
    worker.memory = {"base": 1, "engine": 2, "load": 3}
    memory = Memory(**worker.peaks({}, {})[0])
    assert (memory.gpu, pids) == (5_000_000 if asked else None, asked)
    table = benchmark_table(record(measured("a.onnx", 10, memory=memory)))
    assert ("on the GPU" in table and "5.00 MB" in table) is bool(asked)

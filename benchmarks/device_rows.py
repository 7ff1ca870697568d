"""The published measurements of devices, as rows of seconds and watts: $EDGEDL_DATA/devices/*.csv."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_fit import Rows

FEWEST = 4
"""networks of a device; fewer say nothing of the next one"""


@dataclass(frozen=True)
class Device:
    """name, title: edgedl's. key: how the published rows are found."""

    name: str
    title: str
    key: str


BOARDS = (
    Device("raspberry-pi-4", "Raspberry Pi 4 (Cortex-A72, 1.5 GHz)", "rpi4coral-fan.on"),
    Device("jetson-agx-xavier", "Jetson AGX Xavier, CPU (Carmel)", "xavier-power.0-fan.cool"),
    Device("rk3399", "Rockchip RK3399 (Cortex-A72, A53)", "firefly"),
)
"""MLPerf Inference, submitted by Krai"""
PHONES = (
    Device("pixel-1", "Google Pixel 1, one large core (Kryo, 2.15 GHz)", "Pixel 1 large core"),
    Device("pixel-3", "Google Pixel 3 (Kryo 385 Gold, 2.5 GHz)", "Pixel 3 (Android 10)"),
)
"""TensorFlow's own tables of its mobile networks"""
NCNN = (
    Device("raspberry-pi-4", "Raspberry Pi 4 (Cortex-A72, 1.8 GHz)", "Raspberry Pi 4 Model B"),
    Device("raspberry-pi-3", "Raspberry Pi 3 B+ (Cortex-A53, 1.4 GHz)", "Raspberry Pi 3 Model B+"),
    Device("jetson-nano", "Jetson Nano, CPU (Cortex-A57)", "NVIDIA Jetson Nano"),
    Device("jetson-orin-nano", "Jetson Orin Nano, CPU (Cortex-A78AE)", "NVIDIA Jetson Orin Nano"),
    Device("jetson-agx-orin", "Jetson AGX Orin, CPU (Cortex-A78AE)", "NVIDIA Jetson AGX Orin"),
    Device("jetson-agx-xavier", "Jetson AGX Xavier, CPU (Carmel)", "NVIDIA Jetson AGX Xavier"),
    Device("jetson-tx2-nx", "Jetson TX2 NX, CPU (Denver 2, Cortex-A57)", "NVIDIA Jetson TX2 NX"),
    Device("rk3399", "Rockchip RK3399 (Cortex-A72, A53)", "Rockchip RK3399"),
    Device("rk3566", "Rockchip RK3566 (Cortex-A55, 1.8 GHz)", "OrangePicm4, Rockchip Rk3566"),
    Device("rk3588", "Rockchip RK3588 (Cortex-A76, A55)", "Rockchip RK3588 (Quad Core"),
    Device("radxa-zero-3w", "Radxa Zero 3W (Cortex-A55, 1.4 GHz)", "Radxa Zero 3W"),
    Device("snapdragon-410", "Snapdragon 410 (Cortex-A53, 1.2 GHz)", "Qualcomm MSM8916"),
    Device("snapdragon-660", "Snapdragon 660 (Kryo 260)", "Qualcomm SDM660"),
    Device("snapdragon-835", "Snapdragon 835 (Kryo 280)", "Qualcomm MSM8998"),
    Device("snapdragon-855", "Snapdragon 855+ (Kryo 485)", "Qualcomm SM8150-AC"),
    Device("snapdragon-8-gen-2", "Snapdragon 8 Gen 2", "Qualcomm SM8550-AB"),
    Device("kirin-970", "Kirin 970 (Cortex-A73, A53)", "Kirin 970"),
    Device("dimensity-9300", "Dimensity 9300 (Cortex-X4, A720)", "MediaTek Dimensity 9300"),
)
MICRO = (
    Device("cortex-m4", "STM32L4R5 (Cortex-M4, 120 MHz)", "NUCLEO_L4R5ZI"),
    Device("cortex-m7", "STM32H7A3 (Cortex-M7, 280 MHz)", "NUCLEO_H7A3ZI_Q"),
    Device("cortex-m33", "STM32U575 (Cortex-M33, 160 MHz)", "NUCLEO_U575ZI_Q"),
)
"""MLPerf Tiny v1.2, submitted by STMicroelectronics"""
DISCO = (Device("stm32h747", "STM32H747I-DISCO (Cortex-M7, 400 MHz)", "STM32H747I-DISCO (Cortex-M7 400 MHz)"),)
"""ST's model zoo"""


@dataclass(frozen=True)
class Measured:
    """The rows of one device, engine, precision and number of threads. watts: network -> (watts, joules of a run)."""

    device: Device
    engine: str
    precision: str
    threads: int | None
    source: str
    rows: Rows
    watts: Mapping[str, tuple[float, float]]


def table(name: str) -> list[dict[str, str]]:
    folder = os.environ.get("EDGEDL_DATA") or sys.exit("EDGEDL_DATA: set it to the folder that has devices/*.csv")
    with (Path(folder) / "devices" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def mlperf(networks: Mapping[str, object], round_: str = "v1.1") -> Iterator[Measured]:
    """Krai's boards with TFLite. Watts at the wall were published of v1.0 for the Pi and of both for the Xavier."""
    rows = [row for row in table("mlperf_inference") if row["org"] == "Krai" and row["valid"] == "True"]
    for device in BOARDS:
        own = [row for row in rows if row["system"].startswith(f"{device.key}-tflite")]
        for precision in ("int8", "fp32"):
            chosen = [row for row in own if _network(row)[1] == precision and _network(row)[0] in networks]
            latest = [row for row in chosen if row["source"].endswith(round_)]
            seconds = {_network(row)[0]: float(row["p50_ms"]) * 1e-3 for row in latest}
            watts = {
                _network(r)[0]: (float(r["watts_wall"]), float(r["energy_mJ_wall"]) * 1e-3)
                for r in chosen
                if r["watts_wall"]
            }
            engine = "TFLite " + latest[0]["system"].split("tflite-")[1].split("-")[0].removeprefix("v")
            yield Measured(device, engine, precision, None, latest[0]["url"], seconds, watts)


def published(devices: tuple[Device, ...], engine: str, networks: Mapping[str, object]) -> Iterator[Measured]:
    """Rows that makers of networks and boards publish beside them."""
    for device in devices:
        own = [row for row in table("hand") if row["device"] == device.key and row["engine"].startswith(engine)]
        named = [(name, row) for row in own if (name := _hosted(row["model"])) in networks]
        for precision in ("int8", "fp32"):
            rows = {name: row for name, row in named if row["precision"] == precision}
            if len(rows) >= FEWEST:
                first = next(iter(rows.values()))
                seconds = {name: float(row["latency_ms"]) * 1e-3 for name, row in rows.items()}
                yield Measured(
                    device,
                    first["engine"].removesuffix(" CPU"),
                    precision,
                    int(first["threads"]),
                    first["url"],
                    seconds,
                    {},
                )


def _hosted(model: str) -> str:
    """`mobilenet_V1_0.50_128` and `mobilenet_v2_0.35_128 imagenet` as device_networks.hosted names them."""
    if found := re.match(r"mobilenet_v3_(large|small)_([\d.]+)$", model, re.IGNORECASE):
        return f"mobilenet-v3-{found[1]}_224_{found[2]}"
    found = re.match(r"(mobilenet_v[12]|mnasnet)_([\d.]+)[ _](?:\w+_)?(\d+)", model, re.IGNORECASE)
    return f"{found[1].lower().replace('_', '-')}-{float(found[2])}-{found[3]}" if found else model.replace("_", "-")


def _network(row: Mapping[str, str]) -> tuple[str, str]:
    """(name, precision) of an MLPerf model."""
    name = row["model"]
    for ending, precision in {
        "-non-quantized": "fp32",
        "-quantized": "int8",
        "_float": "fp32",
        "_uint8": "int8",
    }.items():
        if name.endswith(ending):
            return name.removesuffix(ending), precision
    return name, ""


def ncnn(networks: Mapping[str, object]) -> Iterator[Measured]:
    """Every ARM device of ncnn's tables with 1, 2 or 4 threads; those that edgedl does not name help the profile."""
    found: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in table("ncnn"):
        if (
            row["engine"] == "ncnn cpu"
            and row["precision"] != "int8"
            and row["model"] in networks
            and row["threads"] in ("1", "2", "4")
        ):
            found[row["device"], row["threads"], row["precision"]].append(row)
    for (key, threads, _), rows in found.items():
        if len(rows) >= 9 and any(word in key for word in _ARM):
            device = next((d for d in NCNN if key.startswith(d.key)), Device("", key, key))
            seconds = {row["model"]: float(row["latency_min_ms"]) * 1e-3 for row in rows}
            yield Measured(device, "ncnn", "fp32", int(threads), rows[0]["url"], seconds, {})


_ARM = (
    "Cortex",
    "Kyro",
    "Kirin",
    "Jetson",
    "Kunpeng",
    "KunPeng",
    "Phytium",
    "Apple",
    "(13-inch",
    "OrangePi",
    "RK",
    "Rockchip",
)


def micro(networks: Mapping[str, object]) -> Iterator[Measured]:
    rows = [
        row for row in table("mlperf_tiny") if row["org"] == "STMicroelectronics" and row["source"].endswith("v1.2")
    ]
    for device in MICRO:
        own = [row for row in rows if row["system"] == device.key and row["bench"] in networks]
        seconds = {r["bench"]: float(r["latency_ms"]) * 1e-3 for r in own if r["kind"] == "performance"}
        joules = {
            r["bench"]: (float(r["energy_uJ"]) * 1e-6, float(r["latency_ms"]) * 1e-3) for r in own if r["energy_uJ"]
        }
        watts = {name: (energy / took, energy) for name, (energy, took) in joules.items()}
        yield Measured(device, "X-CUBE-AI", "int8", 1, own[0]["url"], seconds, watts)

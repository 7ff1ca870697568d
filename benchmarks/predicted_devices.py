"""Fits and validates the models of predicted devices on published measurements, and writes edgedl/predict/devices.json.

    EDGEDL_DATA=... python benchmarks/predicted_devices.py ncnn/benchmark [--write]

Reads $EDGEDL_DATA/devices/{mlperf_inference,mlperf_tiny,ncnn}.csv and ncnn's networks (benchmarks/ncnn_networks.py tells where
from). Prints, for each device, engine and precision, the median relative error on a network left out whose family stays and on
a family left out, that of the energy, and what one board differed by between two rounds of the same benchmark. A model that
misses an unseen family by more than 25 % (median) is not written.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import device_fit
import device_networks
import ncnn_networks
import numpy as np
from device_fit import Group, Rows

from edgedl.predict.models import DeviceModel, Power
from edgedl.predict.prediction import objections
from edgedl.workload import Workload

WORST, FEWEST = 0.25, 4
OUTPUT = Path(__file__).parent.parent / "edgedl" / "predict" / "devices.json"
CPU = (
    "convolution", "convolution_3x3", "pointwise", "depthwise", "grouped", "dense", "elements", "elements_3x3", "nonlinear", "layers",
)  # fmt: skip


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
class Scaled:
    """A board that nobody published, with the core of one that was: seconds x the ratio of their clocks.

    parent: a name of NCNN, measured with one thread. witnesses: other boards with that core and their clocks (GHz), which
    tell how well that goes; a board with one thread is as fast as its core lets it.
    """

    device: Device
    clock: float
    parent: str
    parent_clock: float
    witnesses: Mapping[str, float]


ZERO = Scaled(
    Device("raspberry-pi-zero-2", "Raspberry Pi Zero 2 W (Cortex-A53, 1.0 GHz), by clock from the Raspberry Pi 3 B+", ""),
    1.0, "raspberry-pi-3", 1.4,
    {"snapdragon-410": 1.2, "EAIDK 310": 1.3, "AXERA AX630C": 1.2, "Arduino UNO Q": 2.0},
)  # fmt: skip


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


def family(name: str) -> str:
    """Networks of one design: an unseen family leaves all of them out."""
    same = {
        "mobilenet": "v1", "mobilenet_yolo": "v1", "vww": "v1", "mobilenet_v2": "v2", "mobilenetv2_yolov3": "v2", "mnasnet": "v2",
        "proxylessnasnet": "v2", "mobilenet_v3": "v3", "efficientnet_b0": "v3", "efficientnetv2_b0": "v3",
        "resnet18": "resnet", "resnet50": "resnet",
        **dict.fromkeys(("shufflenet_v2", "nanodet_m", "yolo-fastestv2", "FastestDet"), "shufflenet_v2"),
    }  # fmt: skip
    known = ("mobilenet-v1", "mobilenet-v2", "mobilenet-v3", "efficientnet-lite", "inception")
    if name.startswith("mnasnet-"):
        return "mobilenet-v2"
    return same.get(name) or next((k for k in known if name.startswith(k)), name)


def power(measured: Measured) -> tuple[Power | None, float]:
    """(active power of the board, median relative error of power x measured latency against the measured joules)."""
    watts = np.array([watt for watt, _ in measured.watts.values()])
    if len(watts) < 3:
        return None, float("nan")
    means = (watts.sum() - watts) / (len(watts) - 1)
    errors = np.abs(means / watts - 1)
    source = f"{'at the wall' if measured.threads is None else 'of the chip'}, MLPerf, {len(watts)} networks"
    return Power(float(watts.mean()), float(np.quantile(errors, 0.9)), source), float(np.median(errors))


def models(group: Group, measured: list[Measured]) -> Iterator[DeviceModel]:
    """The fit of each, printed with its errors."""
    within = device_fit.left_out(group, lambda name: name, siblings(group))
    unseen = device_fit.left_out(group, family)
    shared = device_fit.profile(group, set())
    for number, one in enumerate(measured):
        key = str(number)
        errors = device_fit.off(within[key]) if key in within else None, device_fit.off(unseen.get(key, np.array([])))
        watts, energy_error = power(one)
        if one.device.name:
            _print(one, errors, len(unseen.get(key, ())), energy_error)
        if one.device.name and errors[1] <= WORST:
            coefficients = device_fit.fit(group, one.rows, shared)
            yield _model(group, one, coefficients, errors, unseen[key], watts)


def known(works: Sequence[Workload]) -> tuple[dict[str, float], tuple[float, float]]:
    """(shares, macs) of a DeviceModel: what lies within its fit."""
    shares = {kind: round(max(w.shares()[kind] for w in works), 4) for kind in works[0].shares()}
    macs = [float(w.macs) for w in works]
    return {kind: share for kind, share in shares.items() if share > 0}, (min(macs), max(macs))


def refused(work: Workload, works: Sequence[Workload]) -> bool:
    """Whether edgedl would not predict it from these."""
    return any(objections(*known(works), work))


def siblings(group: Group) -> set[str]:
    """Networks that are not the only one of their family."""
    names = {name for rows in group.rows.values() for name in rows}
    count = Counter(map(family, names))
    return {name for name in names if count[family(name)] > 1}


def _model(
    group: Group, one: Measured, coefficients: device_fit.Figures, errors: tuple[float | None, float],
    ratios: device_fit.Figures, watts: Power | None,
) -> DeviceModel:  # fmt: skip
    factors = tuple(round(factor, 4) for factor in device_fit.interval(ratios))
    return DeviceModel(
        one.device.name, one.device.title, one.engine, one.precision, one.threads, one.source, tuple(sorted(one.rows)),
        {name: float(f"{c * 1e-9:.6g}") for name, c in zip(group.features, coefficients, strict=True) if c > 0},
        *known([group.networks[name] for name in one.rows]),
        None if errors[0] is None else round(errors[0], 4), round(errors[1], 4), factors, watts,
    )  # fmt: skip


def _print(one: Measured, errors: tuple[float | None, float], told: int, energy: float) -> None:
    """told: how many networks of unseen families would not be refused."""
    joules = "" if np.isnan(energy) else f", energy {energy:.1%}"
    threads = "" if one.threads is None else f" x{one.threads}"
    within = "no family of two" if errors[0] is None else f"within a family {errors[0]:.1%}"
    print(
        f"{one.device.name:20} {one.engine:14} {one.precision}{threads:3} {len(one.rows):3} networks: {within}, "
        f"unseen family {errors[1]:.1%} ({told} told){joules}{'' if errors[1] <= WORST else '  (not carried)'}"
    )


def scaled(what: Scaled, parent: DeviceModel, measured: list[Measured]) -> DeviceModel:
    """The parent's model, slower by the clock; its errors and interval hold those of the witnesses as independent ones."""
    ratios = witnessed(what, {one.device.name or one.device.key: one.rows for one in measured if one.threads == 1})
    slower = what.parent_clock / what.clock
    added = float(np.median(np.abs(1 / ratios - 1)))
    halves = [np.log(high / low) / 2 for low, high in (parent.interval, device_fit.interval(ratios))]
    middle, half = np.sqrt(parent.interval[0] * parent.interval[1]), np.hypot(*halves)
    print(
        f"{what.device.name:20} by clock from {what.parent}: {len(ratios)} rows of {len(what.witnesses)} boards off by {added:.1%} (median)"
    )
    return replace(
        parent, device=what.device.name, title=what.device.title,
        coefficients={name: float(f"{c * slower:.6g}") for name, c in parent.coefficients.items()},
        within=round(float(np.hypot(parent.within or 0.0, added)), 4), unseen=round(float(np.hypot(parent.unseen, added)), 4),
        interval=(round(float(middle * np.exp(-half)), 4), round(float(middle * np.exp(half)), 4)),
    )  # fmt: skip


def witnessed(what: Scaled, rows: Mapping[str, Rows]) -> np.ndarray:
    """Measured / scaled from the parent, of every network of every witness."""
    parent, found = rows[what.parent], []
    for start, clock in what.witnesses.items():
        own = next(one for key, one in rows.items() if key.startswith(start))
        found += [own[n] / parent[n] * clock / what.parent_clock for n in own if n in parent]
    return np.array(found)


def group_of(measured: list[Measured], networks: Mapping[str, object], features: tuple[str, ...]) -> Group:
    """Of a handful of networks all are counted, for what remains of them knows next to nothing."""
    rows = {str(number): one.rows for number, one in enumerate(measured)}
    few = all(len(own) <= FEWEST for own in rows.values())
    return Group(rows, networks, features, family, (lambda *_: False) if few else refused)  # type: ignore[arg-type]


def rounds(networks: Mapping[str, object]) -> None:
    """What the same board, network and engine family differed by between v1.0 and v1.1."""
    for new, old in zip(mlperf(networks), mlperf(networks, "v1.0"), strict=True):
        shared = new.rows.keys() & old.rows.keys()
        spread = np.abs([new.rows[name] / old.rows[name] - 1 for name in shared])
        print(
            f"{new.device.name:20} {new.precision}: {old.engine} and {new.engine} differ by {np.median(spread):.1%} "
            f"(median of {len(shared)} networks, 90 % quantile {np.quantile(spread, 0.9):.1%})"
        )


def fits(folder: Path) -> Iterator[DeviceModel]:
    """folder: of ncnn's networks."""
    hosted, tables, tiny = device_networks.hosted(), ncnn_networks.networks(folder), device_networks.tiny()
    for source in (list(mlperf(hosted)), list(published(PHONES, "TFLite CPU", hosted))):
        for precision in ("int8", "fp32"):
            boards = [one for one in source if one.precision == precision]
            yield from models(group_of(boards, hosted, CPU), boards)
    measured = sorted(ncnn(tables), key=lambda one: one.threads or 0)
    phones = list(models(group_of(measured, tables, CPU), measured))
    yield from phones
    parent = next(one for one in phones if (one.device, one.threads) == (ZERO.parent, 1))
    yield scaled(ZERO, parent, measured)
    boards = list(micro(tiny))
    yield from models(group_of(boards, tiny, ("macs",)), boards)
    boards = list(published(DISCO, "STM32Cube.AI", hosted))
    yield from models(group_of(boards, hosted, ("macs", "elements")), boards)
    print("\nRound to round:")
    rounds(hosted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ncnn", type=Path, help="folder with the *.param files of ncnn's benchmark")
    parser.add_argument("--write", action="store_true", help=f"write {OUTPUT}")
    options = parser.parse_args()
    found = list(fits(options.ncnn))
    if options.write:
        OUTPUT.write_text(json.dumps({"models": [asdict(model) for model in found]}, indent=1) + "\n")
        print(f"\n{OUTPUT}: {len(found)} models of {len({model.device for model in found})} devices")


if __name__ == "__main__":
    main()

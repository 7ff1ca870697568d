"""Fits and validates the models of predicted devices on published measurements, and writes edgedl/predict/devices.json.

    EDGEDL_DATA=... python benchmarks/predicted_devices.py ncnn/benchmark [--write]

Reads $EDGEDL_DATA/devices/{mlperf_inference,mlperf_tiny,ncnn}.csv and ncnn's networks (benchmarks/ncnn_networks.py tells where
from). Prints, for each device, engine and precision, the median relative error on a network left out whose family stays and on
a family left out, that of the energy, and what one board differed by between two rounds of the same benchmark. A model that
misses an unseen family by more than 25 % (median) is not written.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import device_fit
import device_networks
import ncnn_networks
import numpy as np
from device_fit import Group, Rows
from device_rows import DISCO, FEWEST, PHONES, Device, Measured, micro, mlperf, ncnn, published

from edgedl.predict.models import DeviceModel, Power
from edgedl.predict.prediction import objections
from edgedl.workload import Workload

WORST = 0.25
OUTPUT = Path(__file__).parent.parent / "edgedl" / "predict" / "devices.json"
CPU = (
    "convolution", "convolution_3x3", "pointwise", "depthwise", "grouped", "dense", "elements", "elements_3x3", "nonlinear", "layers",
)  # fmt: skip


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
